"""What the handlers work with: the components of a running gateway, made by :mod:`gateway.server`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from framework.remote import Finished
from framework.replica import Replica
from gateway.audit import Nowhere, Sink
from gateway.auth.access import Access
from gateway.clusters.catalogue import Catalogue
from gateway.clusters.disks import Disks
from gateway.clusters.kv import KeyValues
from gateway.clusters.launching import Launcher
from gateway.clusters.service import Clusters
from gateway.dataprocessing.remembered import Remembered
from gateway.dataprocessing.service import DataProcessing
from gateway.events import EventHub
from gateway.forward import Forwarder
from gateway.logs import AgentFiles
from gateway.metrics import Metrics
from gateway.operations import Operations
from gateway.pool import Pool
from gateway.requests import Requests
from gateway.store import Store
from gateway.tls import Certificate

# The version of this project, and that of the alpha API, which clients compare byte for byte.
VERSION = "0.1.0"
API_VERSION = "0.1"


class Runner(Protocol):
    """Runs commands beside tasks: what is used of :class:`framework.remote.Remote`."""

    def run(
        self, task_id: str, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0
    ) -> Finished: ...


@dataclass(frozen=True)
class ClusterParts:
    """What clusters of products are made with; only the gateway's own scheduler has them."""

    store: Store
    catalogue: Catalogue
    launcher: Launcher
    service: Clusters
    disks: Disks
    remote: Runner
    registry: KeyValues


@dataclass
class Gateway:
    """``replica`` and ``forwarder`` are there with --ha only.

    ``max_body`` in bytes; ``slow_reader_secs``: how long a stream's reader may leave data lie.
    """

    pool: Pool
    operations: Operations
    events: EventHub
    files: AgentFiles
    metrics: Metrics
    requests: Requests
    access: Access = field(default_factory=Access)
    audit: Sink = field(default_factory=Nowhere)
    certificate: Certificate | None = None
    forwarder: Forwarder | None = None
    replica: Replica | None = None
    clusters: ClusterParts | None = None
    dataprocessing: DataProcessing | None = None
    # What the API of data clusters has written of each in lists, as v1.1 and as v1.0.
    cluster_texts: Remembered[bytes] = field(default_factory=Remembered)
    old_cluster_texts: Remembered[bytes] = field(default_factory=Remembered)
    max_body: int = 4 * 1024 * 1024
    legacy_status: bool = False
    slow_reader_secs: float = 30.0
    keep_alive_secs: float = 15.0
    follow_secs: float = 0.5

    def reload(self) -> None:
        """Reads credentials and certificate anew, and opens the audit log anew (SIGHUP)."""
        self.access.reload()
        self.audit.reopen()
        if self.certificate is not None:
            self.certificate.reload()

    def problems(self) -> tuple[str, ...]:
        """Returns what was wrong with the files when they were read anew, and is with the audit log."""
        certificate = None if self.certificate is None else self.certificate.problem
        problems = (self.access.problem, certificate, self.audit.problem)
        return tuple(problem for problem in problems if problem is not None)
