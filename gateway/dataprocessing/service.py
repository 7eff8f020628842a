"""Data clusters as their API sees them: what is used together, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from framework.model.errors import NotSupported
from gateway.clusters.service import Clusters
from gateway.dataprocessing.catalogue import Catalogue
from gateway.dataprocessing.clusters import DataClusters
from gateway.dataprocessing.consulting import Consultant
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.keypairs import Keypairs
from gateway.dataprocessing.launches import Launches
from gateway.dataprocessing.means import Means
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.dataprocessing.parts import Parts
from gateway.dataprocessing.plugins_view import PluginShelf
from gateway.dataprocessing.templates import ClusterTemplates, NodeGroupTemplates
from gateway.dataprocessing.validation import Checks
from gateway.plugins.calls import PluginCalls
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
    launches: Launches
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
    parts = Parts(store, checks, images, catalogue)
    consultant = Consultant(calls or PluginCalls())
    means = Means(store, clusters, templates, checks, parts, consultant, clock)
    data_clusters = DataClusters(means)
    return DataProcessing(
        catalogue=catalogue,
        plugins=shelf,
        images=images,
        checks=checks,
        node_group_templates=groups,
        cluster_templates=templates,
        clusters=data_clusters,
        launches=Launches(means, data_clusters),
        keypairs=Keypairs(store, clock),
    )
