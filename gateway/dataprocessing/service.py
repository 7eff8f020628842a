"""Data clusters as their API sees them: what is used together, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.dataprocessing.catalogue import Catalogue
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.plugins_view import PluginShelf
from gateway.dataprocessing.templates import ClustersInUse, ClusterTemplates, NodeGroupTemplates
from gateway.dataprocessing.validation import Checks
from gateway.plugins.loader import Plugins
from gateway.store import Store


@dataclass(frozen=True)
class DataProcessing:
    """Methods of its parts block; call them in the pool."""

    catalogue: Catalogue
    plugins: PluginShelf
    images: ImageRegistry
    checks: Checks
    node_group_templates: NodeGroupTemplates
    cluster_templates: ClusterTemplates


def data_processing(
    store: Store,
    clusters: ClustersInUse,
    plugins: Plugins,
    catalogue: Catalogue,
    clock: Callable[[], float],
) -> DataProcessing:
    """``clock`` gives seconds since the epoch."""
    shelf = PluginShelf(store, plugins, clock)
    images = ImageRegistry(store, catalogue, clock)
    checks = Checks(shelf, images, catalogue)
    groups = NodeGroupTemplates(store, clusters, checks, clock)
    return DataProcessing(
        catalogue=catalogue,
        plugins=shelf,
        images=images,
        checks=checks,
        node_group_templates=groups,
        cluster_templates=ClusterTemplates(store, clusters, groups, checks, clock),
    )
