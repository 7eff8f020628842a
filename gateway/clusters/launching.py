"""From a product and a user's options to a cluster that is stored and will be made."""

from __future__ import annotations

import hashlib
from typing import Any

from framework.model.errors import Invalid
from gateway.clusters.model import Cluster, LaunchRequest, NodeAsk
from gateway.clusters.options import merge
from gateway.clusters.rendering import Renderer
from gateway.clusters.service import Clusters
from gateway.store import Store


class InvalidOptions(Invalid):
    """The options do not fit the product; a sentence for each."""

    code = "invalid_options"


class Launcher:
    """Its method blocks: it renders in a worker and waits for the store."""

    def __init__(self, store: Store, renderer: Renderer, clusters: Clusters) -> None:
        self._store = store
        self._renderer = renderer
        self._clusters = clusters

    def launch(
        self, name: str, version: str, given: Any, user: str, lease_secs: float | None = None
    ) -> Cluster:
        """Returns the new cluster of a product, stored.

        Raises :class:`NotFound` for the product, :class:`InvalidOptions`, :class:`Invalid` and
        :class:`Forbidden` for what cannot or may not be.
        """
        product = self._store.products.get(name, version)
        try:
            options = merge(product.options, given)
        except Invalid as error:
            raise InvalidOptions(*error.messages) from None
        # A number that comes to nothing is not given again: names of clusters never mean two.
        scope = f"{user}/{name}/{version}"
        number = self._store.clusters.next_number(scope)
        key = f"clusters/{scope}/{number}"
        document = self._renderer.render(product, given, user=user, dn=key)
        request = LaunchRequest(
            key=key,
            owner=user,
            provider="product",
            product=(name, version),
            job_name=_job_name(name, version, number),
            name=str(number),
            nodes=tuple(NodeAsk(node.name, node.group, node.spec) for node in document.nodes),
            groups=document.groups,
            services=document.services,
            dnsname=document.dnsname,
            lease_secs=lease_secs,
            extra={"options": options},
        )
        with self._store.transaction():
            # Rendering takes seconds: who deletes the product meanwhile has seen no cluster of it.
            self._store.products.get(name, version)
            cluster = self._clusters.launch(request, user)
        # Within the transaction there was nothing to be seen of it yet.
        self._clusters.wake(cluster.cluster_id)
        return cluster


def _job_name(name: str, version: str, number: int) -> str:
    """Returns a name that no cluster of another product has: ``web`` 1-2 is not ``web-1`` 2."""
    words = f"{name}-{version}-{number}"
    if "-" not in name + version:
        return words
    return f"{words}-{hashlib.sha256(f'{name}/{version}'.encode()).hexdigest()[:8]}"
