"""What the groups of a cluster are made of: checked, and found by their names."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.dataprocessing.catalogue import Catalogue, flavor_of, network_of
from gateway.dataprocessing.errors import InvalidReference, NotThere
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.launching import Found, Wanted, check_host_names, check_size
from gateway.dataprocessing.objects import NodeGroup
from gateway.dataprocessing.validation import Checks, check_group_names
from gateway.plugins.profile import VersionProfile
from gateway.store import Store


class Parts:
    """The same for clusters that are launched and for groups that are added. Blocks."""

    def __init__(
        self, store: Store, checks: Checks, images: ImageRegistry, catalogue: Catalogue
    ) -> None:
        self._store = store
        self._checks = checks
        self._images = images
        self._catalogue = catalogue

    def check(
        self, tenant: str, profile: VersionProfile, cluster: str, groups: Sequence[NodeGroup]
    ) -> None:
        """Raises for the first thing that is wrong with groups of the cluster of this name."""
        check_group_names(group.name for group in groups)
        for group in groups:
            self._checks.node_group(tenant, profile, msgspec.structs.asdict(group))
        check_size(groups)
        check_host_names(cluster, groups)

    def find(self, tenant: str, asked: Wanted, groups: Sequence[NodeGroup]) -> Found:
        """Returns what the names in ``asked`` and its ``groups`` stand for; raises :class:`NotThere` and
        :class:`InvalidReference`."""
        flavors = {}
        images = {}
        for group in groups:
            flavor = flavor_of(self._catalogue, group.flavor_id)
            if flavor is None:
                raise NotThere(f"Requested flavor '{group.flavor_id[:255]}' not found")
            flavors[group.flavor_id] = flavor
            image_id = group.image_id or asked.default_image_id or ""
            image = self._images.look(tenant, image_id)
            if image is None:
                raise InvalidReference(f"Requested image '{image_id[:255]}' is not registered")
            images[image_id] = image
        keypair = next(
            (key for key in self._catalogue.keypairs(tenant) if key.name == asked.keypair), None
        )
        return Found(
            flavors=flavors,
            images=images,
            network=self._network(asked.network),
            user_key=keypair.public_key if keypair else "",
        )

    def _network(self, network_id: str | None) -> str | None:
        """Returns which of the gateway's networks it is; None if nodes have their agents' addresses."""
        network = network_of(self._catalogue, network_id) if network_id is not None else None
        if network is None or not network.attached:
            return None
        names = {known.name for known in self._store.networks.list()}
        return network.name if network.name in names else None
