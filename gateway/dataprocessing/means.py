"""What data clusters are looked at, launched and changed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.clusters.service import Clusters
from gateway.dataprocessing.consulting import Consultant
from gateway.dataprocessing.parts import Parts
from gateway.dataprocessing.templates import ClusterTemplates
from gateway.dataprocessing.validation import Checks
from gateway.store import Store


@dataclass(frozen=True)
class Means:
    """``clock`` gives seconds since the epoch."""

    store: Store
    clusters: Clusters
    templates: ClusterTemplates
    checks: Checks
    parts: Parts
    consultant: Consultant
    clock: Callable[[], float]
