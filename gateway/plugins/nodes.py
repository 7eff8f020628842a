"""Work on many nodes at once, and waiting for them: what the shipped plugins share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.plugins.exceptions import NodeError
from gateway.plugins.remote import Remote
from gateway.plugins.views import InstanceView

T = TypeVar("T")
_AT_ONCE = 8
_PAUSE = 0.5


def on_each(instances: Iterable[InstanceView], act: Callable[[InstanceView, Remote], T]) -> list[T]:
    """Calls ``act`` for each node with its remote, several at once; returns what it returns.

    The others end before the first error is raised.
    """

    def do(instance: InstanceView) -> T:
        with instance.remote() as remote:
            return act(instance, remote)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waited = [pool.submit(do, instance) for instance in instances]
    return [one.result() for one in waited]


def wait_for(look: Callable[[], str | None], timeout: float, pause: float = _PAUSE) -> None:
    """Calls ``look`` until it returns None; meanwhile it returns what is still missing.

    Raises :class:`NodeError` with that if it takes longer than ``timeout`` seconds.
    """
    until = time.monotonic() + timeout
    while (lacks := look()) is not None:
        if time.monotonic() > until:
            raise NodeError(f"after {timeout:g} seconds {lacks}")
        time.sleep(pause)
