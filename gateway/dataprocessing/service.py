"""Data clusters as their API sees them: what is used together, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from framework.model.errors import NotSupported
from gateway.clusters.service import Clusters
from gateway.dataprocessing.calls import PluginCalls
from gateway.dataprocessing.catalogue import Catalogue
from gateway.dataprocessing.clusters import DataClusters
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.keypairs import Keypairs
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.dataprocessing.plugins_view import PluginShelf
from gateway.dataprocessing.templates import ClusterTemplates, NodeGroupTemplates
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
    clusters: DataClusters
    keypairs: Keypairs

    @property
    def offers(self) -> StoredCatalogue:
        """The catalogue, to be changed; raises :class:`NotSupported` for one that cannot be."""
        if not isinstance(self.catalogue, StoredCatalogue):
            raise NotSupported("the catalogue of this server cannot be changed")
        return self.catalogue


def data_processing(
    store: Store,
    clusters: Clusters,
    plugins: Plugins,
    catalogue: Catalogue,
    clock: Callable[[], float],
    calls: PluginCalls | None = None,
) -> DataProcessing:
    """``clock`` gives seconds since the epoch; ``calls`` limits those of plugins."""
    shelf = PluginShelf(store, plugins, clock)
    images = ImageRegistry(store, catalogue, clock)
    checks = Checks(shelf, images, catalogue)
    groups = NodeGroupTemplates(store, clusters, checks, clock)
    templates = ClusterTemplates(store, clusters, groups, checks, clock)
    limited = calls or PluginCalls()
    return DataProcessing(
        catalogue=catalogue,
        plugins=shelf,
        images=images,
        checks=checks,
        node_group_templates=groups,
        cluster_templates=templates,
        clusters=DataClusters(store, clusters, templates, checks, images, catalogue, limited, clock),
        keypairs=Keypairs(store, clock),
    )
