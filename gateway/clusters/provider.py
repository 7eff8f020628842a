"""Who configures the nodes of a cluster: a product's script, a plugin. The interface of both.

A provider's steps are called one after the other in a worker thread, each with a time limit. Which
of them are done is stored; after a crash the one that was under way is called again, so a step does no
harm when it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from executor.task import NodeFile
from framework.model.errors import GatewayError
from gateway.clusters.model import Cluster, NodeRecord

Moment = Literal["planned", "placed", "resized", "shrinking", "deleting", "run"]


class StepFailed(GatewayError):
    """A step has not succeeded; the sentence says why. Nothing is wrong with the gateway."""

    code = "step_failed"


class StepContext(Protocol):
    """What a step has: where to tell what happens, and when to stop."""

    def tell(self, text: str, *, stream: str = "", node: str = "", ok: bool | None = None) -> None:
        """Adds an event to the cluster's."""

    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: the cluster is being deleted, the server stops."""

    def reload(self) -> Cluster:
        """Returns the cluster as it is stored now."""

    def save(self, change: Callable[[Cluster], Cluster]) -> Cluster:
        """Stores a change of the cluster's ``extra``, ``services``, ``said``, or of its nodes'."""


class Step(msgspec.Struct, frozen=True):
    """``run`` raises :class:`StepFailed` (or any other GatewayError) if it does not succeed."""

    name: str
    run: Callable[[Cluster, StepContext], None]
    timeout: float = 3600.0


class Provider(Protocol):
    """``moment``: planned (before anything is placed), placed (all nodes run for the first time),
    resized (nodes have been added: the operation's ``added``), shrinking (``removed`` are about to go),
    deleting (all nodes are about to go; what fails there is told and stops nothing), run (a verb).

    Names of steps are unique within a moment, and the same each time. ``files`` are in a node before
    anything of it runs; the steps of "planned" have been done when it is asked."""

    def steps(self, cluster: Cluster, moment: Moment) -> Sequence[Step]: ...

    def files(self, cluster: Cluster, node: NodeRecord) -> Sequence[NodeFile]: ...
