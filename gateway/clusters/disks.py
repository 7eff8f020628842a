"""Data disks of the agents: what the operator has said of them, and who has which."""

from __future__ import annotations

import logging
import threading

import msgspec

from framework.core.messages import DiskUse, WithholdDisks
from framework.model.errors import GatewayError
from gateway.clusters.fleet import Service
from gateway.clusters.model import NodeStatus
from gateway.clusters.networks import DiskMark, Status
from gateway.pending import Pending
from gateway.store import Store

logger = logging.getLogger(__name__)


class DiskRecord(msgspec.Struct, frozen=True):
    """A disk of a host. ``cluster`` and ``node`` have it, or the operator says so.

    ``owner`` is the cluster's; None: it is the operator's mark, or a job that is no cluster's.
    """

    name: str
    host: str
    status: Status = "free"
    cluster: str = ""
    node: str = ""
    owner: str | None = None


class Disks:
    """Keeps the scheduler off disks that the operator has marked as used. All methods block.

    The marks are durable; a scheduler is given them when it begins (:func:`withheld`), and told of
    each change.
    """

    def __init__(self, store: Store, service: Service, timeout: float = 30.0) -> None:
        self._store = store
        self._service = service
        self._timeout = timeout
        # So that what is said last is what is stored.
        self._saying = threading.Lock()
        self._unsaid = False

    def mark(self, mark: DiskMark) -> None:
        """Stores a mark, and has the scheduler know it. A node that has the disk keeps it.

        Raises :class:`Unavailable` if that cannot be stored; or if the scheduler does not hear of it
        now, which it does as soon as it can (:meth:`say_again`).
        """
        with self._saying:
            self._store.disks.put(mark)
            self._say()

    def say_again(self) -> None:
        """Tells the scheduler what it could not be told before; does nothing if there is nothing."""
        if not self._unsaid:
            return
        with self._saying:
            try:
                self._say()
            except GatewayError as error:
                logger.info("the scheduler is not told of marked disks yet: %s", error)

    def of(self, host: str) -> list[DiskRecord]:
        """Returns all disks known of a host, by name: offered, in use by a node, or marked."""
        found = {mark.name: _marked(mark) for mark in self._store.disks.list(host)}
        query = self._service.query(lambda core: core.disks().get(host, ()))
        uses: tuple[DiskUse, ...] = Pending(query, self._timeout).wait()
        for use in uses:
            if use.task_id is not None:
                found[use.name] = self._used(use)
            else:
                found.setdefault(use.name, DiskRecord(use.name, host))
        for cluster in self._store.clusters.find(include_gone=False):
            for node in cluster.nodes:
                if node.host == host and node.status is not NodeStatus.DELETED:
                    for name in node.disks:
                        found[name] = DiskRecord(
                            name, host, "used", cluster.key, node.name, cluster.owner
                        )
        return [found[name] for name in sorted(found)]

    def _say(self) -> None:
        self._unsaid = True
        command = WithholdDisks(at=0.0, user="", disks=withheld(self._store))
        Pending(self._service.submit(command), self._timeout).wait()
        self._unsaid = False

    def _used(self, use: DiskUse) -> DiskRecord:
        cluster = None if use.key is None else self._store.clusters.by_job(use.key)
        if cluster is None:
            return DiskRecord(use.name, use.host, "used", str(use.key or ""), str(use.instance or 0))
        names = [node.name for node in cluster.nodes if node.index == use.instance]
        return DiskRecord(use.name, use.host, "used", cluster.key, "".join(names[:1]), cluster.owner)


def withheld(store: Store) -> dict[str, tuple[str, ...]]:
    """Returns by host the disks that no node is to be given: those marked as used. Blocks."""
    found: dict[str, tuple[str, ...]] = {}
    for mark in store.disks.list(status="used"):
        found[mark.host] = (*found.get(mark.host, ()), mark.name)
    return found


def _marked(mark: DiskMark) -> DiskRecord:
    return DiskRecord(mark.name, mark.host, mark.status, mark.cluster, mark.node)
