"""The connection to the Docker daemon: the only module that imports its SDK.

What goes wrong comes out as one of three: :class:`Down` (nobody answers: try again),
:class:`NoSuchThing` (404) and :class:`Refused` (the daemon's own explanation).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import docker
import docker.constants
import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker.utils import kwargs_from_env, parse_repository_tag

from executor.environment import ExecutorEnvironment
from executor.networks import USES_LABEL
from executor.runtimes.base import Notify, TaskContext
from executor.runtimes.container import DockerRuntime
from executor.runtimes.docker_api import Down, Frames, NoSuchThing, Refused
from executor.runtimes.docker_client import Client
from executor.runtimes.docker_networks import remove_unused
from executor.runtimes.docker_options import LABEL, OWNER, ContainerOptions, is_orphan
from executor.runtimes.docker_output import Past

logger = logging.getLogger(__name__)

T = TypeVar("T")
_CALL_TIMEOUT = 60.0
_REMOVAL_INTERVAL = 1.0
_STREAMS = ("stdout", "stderr")


class DockerService:
    """One per executor; usable from several threads. Implements :class:`.docker_api.DockerApi`."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._doomed: dict[str, tuple[tuple[str, ...], str]] = {}
        self._doomed_changed = threading.Condition()
        self._remover: threading.Thread | None = None
        self._closed = False

    def runtime(self, context: TaskContext, notify: Notify) -> DockerRuntime:
        """Returns a runtime for one task; nothing is asked of the daemon yet."""
        return DockerRuntime(context, notify, self)

    def close(self) -> None:
        """Tries once more to remove what is left, then closes the connections."""
        with self._doomed_changed:
            self._closed = True
            doomed = list(self._doomed.items())
            self._doomed_changed.notify_all()
        for container, (names, owner) in doomed:
            self._remove(container, names, owner)
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    # -- containers --

    def create(self, name: str, options: ContainerOptions) -> str:
        """Returns the id of a new container; raises :class:`NoSuchThing` if the image is absent."""

        def call(api: Any) -> str:
            host = api.create_host_config(**options.host)
            made = api.create_container(options.image, name=name, host_config=host, **options.create)
            return str(made["Id"])

        return self._ask(call)

    def start(self, container: str) -> None:
        self._ask(lambda api: api.start(container))

    def inspect(self, container: str) -> dict[str, Any]:
        return self._ask(lambda api: dict(api.inspect_container(container)))

    def kill(self, container: str, signal: str) -> None:
        self._ask(lambda api: api.kill(container, signal))

    def attach(self, container: str, replay: bool) -> Frames:
        """Returns the container's output as it comes; ``replay``: all that was before, too.

        For a container that is not running the daemon (20.10) keeps the stream open for ever.
        """
        return self._ask(
            lambda api: self._frames(
                api.attach(container, stdout=True, stderr=True, stream=True, logs=replay, demux=True)
            )
        )

    def past_output(self, container: str) -> Frames:
        """Returns what the daemon has kept of the container's output until now."""

        def call(api: Any) -> list[tuple[str, bytes]]:
            # One stream a time: together they come without a word on which is which.
            return [
                ("stdout", api.logs(container, stdout=True, stderr=False, follow=False)),
                ("stderr", api.logs(container, stdout=False, stderr=True, follow=False)),
            ]

        return Past(self._ask(call))

    def wait(self, container: str, timeout: float) -> bool:
        """Waits up to ``timeout`` seconds for the container's end; returns whether it has come."""
        try:
            self._ask(lambda api: api.wait(container, timeout=timeout))
        except Down as error:
            if error.timed_out:
                return False
            raise
        return True

    def was_out_of_memory(self, container: str, since: float) -> bool:
        """Returns whether the kernel has killed something in the container for its memory."""

        def call(api: Any) -> bool:
            filters = {"container": container, "event": "oom"}
            # Somebody may have set the clock back meanwhile.
            now = time.time()
            begin, end = int(min(since, now)), int(now) + 1
            past = api.events(since=begin, until=end, filters=filters, decode=True)
            return bool(list(past))

        return self._ask(call)

    # -- processes in containers --

    def exec_create(self, container: str, argv: list[str], **more: Any) -> str:
        """Returns the id of a process that can be started in a container, once."""
        return self._ask(lambda api: str(api.exec_create(container, argv, **more)["Id"]))

    def exec_start(self, process: str, stdin: bytes = b"") -> Frames:
        """Starts it; returns its output. Refused with status 409 if it has been started before.

        ``stdin`` is what it reads, if it was created to read something.
        """
        frames = self._ask(lambda api: _Frames(api.exec_start(process, stream=True, demux=True)))
        if stdin:
            frames.write(stdin)
        return frames

    def exec_inspect(self, process: str) -> dict[str, Any]:
        return self._ask(lambda api: dict(api.exec_inspect(process)))

    # -- networks --

    def networks(self, name: str | None = None) -> list[dict[str, Any]]:
        """Returns what there is, as the daemon describes it; ``name`` leaves out most others."""
        names = None if name is None else [name]
        return self._ask(lambda api: list(api.networks(names=names)))

    def create_network(self, body: dict[str, Any]) -> str:
        return self._ask(lambda api: str(api.create_network(**body)["Id"]))

    def remove_network(self, network: str) -> None:
        self._ask(lambda api: api.remove_network(network))

    def connect(self, network: str, container: str, address: str) -> None:
        """Gives a container one more interface, with a fixed IPv4 address."""
        self._ask(lambda api: api.connect_container_to_network(container, network, ipv4_address=address))

    def disconnect(self, network: str, container: str) -> None:
        self._ask(lambda api: api.disconnect_container_from_network(container, network, force=True))

    def labels_of_users(self) -> list[dict[str, str]]:
        """Returns the labels of all containers of ours that have networks, started or not."""
        filters = {"label": USES_LABEL}
        return self._ask(lambda api: [c["Labels"] for c in api.containers(all=True, filters=filters)])

    # -- images --

    def image(self, image: str) -> dict[str, Any]:
        return self._ask(lambda api: dict(api.inspect_image(image)))

    def put_archive(self, container: str, path: str, data: bytes) -> None:
        """Unpacks a tar archive in a container, which need not run."""
        self._ask(lambda api: api.put_archive(container, path, data))

    def pull(self, image: str, cancelled: Callable[[], bool]) -> None:
        """Pulls an image, until ``cancelled()``."""
        repository, tag = parse_repository_tag(image)

        def call(api: Any) -> None:
            progress = api.pull(repository, tag=tag or "latest", stream=True, decode=True)
            with contextlib.closing(progress):
                for line in progress:
                    if "error" in line:
                        raise Refused(500, str(line["error"]))
                    if cancelled():
                        return

        self._ask(call)

    # -- removal --

    def discard(self, container: str, networks: tuple[str, ...] = (), owner: str = "") -> None:
        """Removes a container (by id or name), now or as soon as the daemon lets us.

        With an ``owner`` only if it is his. With the last container of ours its ``networks`` go, too.
        """
        if self._remove(container, networks, owner):
            return
        with self._doomed_changed:
            self._doomed[container] = (networks, owner)
            if self._remover is None and not self._closed:
                self._remover = threading.Thread(target=self._keep_removing, name="removal", daemon=True)
                self._remover.start()

    def sweep(self, environment: ExecutorEnvironment) -> int:
        """Removes the containers whose executor is dead; returns how many there were.

        Where that cannot be told (it ran before a reboot, in another pid namespace), it is an
        earlier run of this framework's executor on this agent that counts as dead. Networks of ours
        that no container uses any more are removed, too.
        """
        try:
            listed = self._ask(lambda api: api.containers(all=True, filters={"label": LABEL + "owner"}))
        except (Down, Refused, NoSuchThing) as error:
            logger.debug("no sweep: %s", error)
            return 0
        orphans = [c for c in listed if is_orphan(c["Labels"], environment)]
        for container in orphans:
            logger.warning("removing container %s of a dead executor", container["Names"])
            self.discard(container["Id"])
        remove_unused(self)
        return len(orphans)

    def _remove(self, container: str, networks: tuple[str, ...], owner: str) -> bool:
        try:
            if not owner or self._owner_of(container) == owner:
                self._ask(lambda api: api.remove_container(container, force=True, v=True))
        except NoSuchThing:
            pass
        except (Down, Refused) as error:
            logger.info("container %s is not removed yet: %s", container, error)
            return False
        if networks:
            remove_unused(self, networks)
        return True

    def _owner_of(self, container: str) -> str | None:
        labels: dict[str, str] = (self.inspect(container).get("Config") or {}).get("Labels") or {}
        return labels.get(OWNER)

    def _keep_removing(self) -> None:
        while True:
            with self._doomed_changed:
                if not self._doomed or self._closed:
                    self._remover = None
                    return
                doomed = list(self._doomed.items())
            gone = [one for one, (names, owner) in doomed if self._remove(one, names, owner)]
            with self._doomed_changed:
                for container in gone:
                    self._doomed.pop(container, None)
                if self._doomed and not self._closed:
                    self._doomed_changed.wait(_REMOVAL_INTERVAL)

    # -- the SDK --

    def _api(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _connect()
            return self._client

    def _ask(self, call: Callable[[Any], T]) -> T:
        with _translated():
            return call(self._api())

    @staticmethod
    def _frames(stream: Any) -> Frames:
        return _Frames(stream)


class _Frames:
    """Output of a container or a process in it: pairs of stream and bytes, until it ends."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Sends what the process reads, on a thread; then its input ends."""
        # As in the SDK's own close(): the socket below the file object that reads the answer.
        sock = self._stream._response.raw._fp.fp.raw._sock

        def send() -> None:
            # A process that does not read all of it has ended, or was killed.
            with contextlib.suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, name="exec-input", daemon=True).start()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        with _translated():
            for pair in self._stream:
                for name, data in zip(_STREAMS, pair, strict=True):
                    if data:
                        yield name, data

    def close(self) -> None:
        # The SDK shuts the socket down, which wakes a reader on another thread, but leaves it open if
        # the other side has closed it before.
        with contextlib.suppress(docker.errors.DockerException, OSError, AttributeError):
            self._stream.close()
        self._stream._response.close()


def _connect() -> Any:
    """Returns a client that speaks the version of the daemon; raises if there is no daemon."""
    # With a version given, nothing is asked yet.
    first = _client(docker.constants.MINIMUM_DOCKER_API_VERSION)
    try:
        version = first.version(api_version=False)["ApiVersion"]
    finally:
        first.close()
    return _client(version)


def _client(version: str) -> Client:
    return Client(version=version, timeout=_CALL_TIMEOUT, max_pool_size=64, **kwargs_from_env())


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turns what the SDK raises into this module's three."""
    try:
        yield
    except docker.errors.NotFound as error:
        raise NoSuchThing(str(error.explanation or error)) from error
    except docker.errors.APIError as error:
        status = error.status_code or 0
        if status == 503:
            text = f"the Docker daemon does not answer now: {error.explanation or error}"
            raise Down(text) from error
        raise Refused(status, str(error.explanation or error)) from error
    except requests.exceptions.Timeout as error:
        raise Down(f"the Docker daemon does not answer: {error}", timed_out=True) from error
    except (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        docker.errors.DockerException,
        OSError,
    ) as error:
        timed_out = "Read timed out" in str(error)
        raise Down(f"the Docker daemon does not answer: {error}", timed_out=timed_out) from error
