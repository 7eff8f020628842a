"""The Mesos side as values: offers, status updates, agents."""

from __future__ import annotations

import msgspec


class PortRange(msgspec.Struct, frozen=True, gc=False, order=True):
    """Port numbers from ``begin`` to ``end``, both included."""

    begin: int
    end: int


class Offer(msgspec.Struct, frozen=True, gc=False):
    """What a Mesos agent offers now. Memory and disk in MiB.

    ``attributes`` maps a name to all of its values as text. ``has_executor``: this framework's
    executor already runs on the agent, so its own resources need not be found again. ``disks`` are the
    names in the SET resource ``dataDisks``.
    """

    offer_id: str
    agent_id: str
    hostname: str
    agent_address: str
    cpus: float
    mem_mb: float
    disk_mb: float
    gpus: float = 0.0
    ports: tuple[PortRange, ...] = ()
    attributes: dict[str, tuple[str, ...]] = {}
    has_executor: bool = False
    disks: tuple[str, ...] = ()


class StatusUpdate(msgspec.Struct, frozen=True, gc=False):
    """A Mesos TaskStatus. ``uuid`` (base64) is absent on updates that must not be acknowledged.

    ``state``, ``source`` and ``reason`` are Mesos's names: TASK_RUNNING, SOURCE_EXECUTOR,
    REASON_RECONCILIATION.
    """

    task_id: str
    state: str
    agent_id: str | None = None
    uuid: str | None = None
    source: str = ""
    reason: str = ""
    message: str = ""
    data: bytes = b""
    timestamp: float = 0.0
