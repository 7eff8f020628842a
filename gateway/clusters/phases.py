"""The phases of a cluster and which may follow which: the one table of them. Pure."""

from __future__ import annotations

from types import MappingProxyType

import msgspec

from gateway.clusters.model import Cluster, Phase

NEXT: MappingProxyType[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.REGISTERED: frozenset({Phase.SCHEDULING, Phase.FAILED, Phase.DELETING}),
        Phase.SCHEDULING: frozenset({Phase.SCHEDULED, Phase.FAILED, Phase.DELETING}),
        Phase.SCHEDULED: frozenset({Phase.CONFIGURING, Phase.FAILED, Phase.DELETING}),
        Phase.CONFIGURING: frozenset({Phase.CONFIGURED, Phase.FAILED, Phase.DELETING}),
        Phase.CONFIGURED: frozenset({Phase.READY, Phase.FAILED, Phase.DELETING}),
        Phase.READY: frozenset({Phase.RESIZING, Phase.DELETING}),
        Phase.RESIZING: frozenset({Phase.READY, Phase.DELETING}),
        Phase.FAILED: frozenset({Phase.DELETING}),
        Phase.DELETING: frozenset({Phase.DELETED}),
        Phase.DELETED: frozenset(),
    }
)


class WrongPhase(Exception):
    """A defect: the table of phases has no such transition."""


def move(cluster: Cluster, phase: Phase) -> Cluster:
    """Returns the cluster in ``phase`` (it may be there already); raises :class:`WrongPhase`."""
    if phase is cluster.phase:
        return cluster
    if phase not in NEXT[cluster.phase]:
        raise WrongPhase(f"cluster {cluster.key} cannot go from {cluster.phase} to {phase}")
    return msgspec.structs.replace(cluster, phase=phase)
