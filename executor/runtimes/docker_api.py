"""What the docker runtime asks of the daemon, as an interface without the SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from executor.runtimes.docker_options import ContainerOptions


class Down(Exception):
    """Nobody answers, or not in time: the same call may succeed later."""

    def __init__(self, message: str, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Refused(Exception):
    """The daemon answered with an error; the text is its explanation."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class NoSuchThing(Exception):
    """The daemon knows no such image, container, network or process."""


class Frames(Protocol):
    """Output: pairs of ``stdout``/``stderr`` and bytes. Iterating raises :class:`Down`."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]: ...

    def close(self) -> None: ...


class DockerApi(Protocol):
    """See :class:`executor.runtimes.docker.DockerService`."""

    def create(self, name: str, options: ContainerOptions) -> str: ...

    def start(self, container: str) -> None: ...

    def inspect(self, container: str) -> dict[str, Any]: ...

    def kill(self, container: str, signal: str) -> None: ...

    def attach(self, container: str, replay: bool) -> Frames: ...

    def past_output(self, container: str) -> Frames: ...

    def wait(self, container: str, timeout: float) -> bool: ...

    def was_out_of_memory(self, container: str, since: float) -> bool: ...

    def exec_create(self, container: str, argv: list[str], **more: Any) -> str: ...

    def exec_start(self, process: str, stdin: bytes = b"") -> Frames: ...

    def exec_inspect(self, process: str) -> dict[str, Any]: ...

    def pull(self, image: str, cancelled: Callable[[], bool]) -> None: ...

    def image(self, image: str) -> dict[str, Any]: ...

    def put_archive(self, container: str, path: str, data: bytes) -> None: ...

    def networks(self, name: str | None = None) -> list[dict[str, Any]]: ...

    def create_network(self, body: dict[str, Any]) -> str: ...

    def remove_network(self, network: str) -> None: ...

    def connect(self, network: str, container: str, address: str) -> None: ...

    def disconnect(self, network: str, container: str) -> None: ...

    def labels_of_users(self) -> list[dict[str, str]]: ...

    def discard(self, container: str, networks: tuple[str, ...] = (), owner: str = "") -> None: ...
