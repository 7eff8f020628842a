"""What requests name must be there, and go together: the checks that follow those of the shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.clusters.requests import MOST_DISKS
from gateway.dataprocessing.catalogue import Catalogue, flavor_of, network_of
from gateway.dataprocessing.errors import InvalidData, InvalidReference, NotThere
from gateway.dataprocessing.images import ImageRegistry
from gateway.dataprocessing.plugins_view import PluginShelf
from gateway.plugins.profile import Chosen, VersionProfile


class Checks:
    """Each method raises for the first thing that is wrong. Blocks."""

    def __init__(self, plugins: PluginShelf, images: ImageRegistry, catalogue: Catalogue) -> None:
        self._plugins = plugins
        self._images = images
        self._catalogue = catalogue

    def plugin(self, tenant: str, name: str, version: str) -> Chosen:
        """See :meth:`PluginShelf.usable`."""
        return self._plugins.usable(tenant, name, version)

    def flavor(self, flavor_id: str) -> None:
        if flavor_of(self._catalogue, flavor_id) is None:
            raise NotThere(f"Requested flavor '{flavor_id[:255]}' not found")

    def image(self, tenant: str, image_id: str, profile: VersionProfile) -> None:
        """The image must be registered, and have the tags that the plugin asks for."""
        image = self._images.look(tenant, image_id)
        if image is None:
            raise InvalidReference(f"Requested image '{image_id[:255]}' is not registered")
        lacks = [tag for tag in profile.required_image_tags if tag not in image.tags]
        if lacks:
            raise InvalidReference(
                f"Tags of requested image '{image_id[:255]}' don't contain required tags {lacks}"
            )

    def network(self, network_id: str) -> None:
        if network_of(self._catalogue, network_id) is None:
            raise NotThere(f"Network {network_id[:255]} not found")

    def keypair(self, tenant: str, name: str) -> None:
        if all(key.name != name for key in self._catalogue.keypairs(tenant)):
            raise NotThere(f"Requested keypair '{name[:255]}' not found")

    def node_group(self, tenant: str, profile: VersionProfile, group: Mapping[str, Any]) -> None:
        """``group`` has the fields of a request; only what is there is looked at."""
        if group.get("node_configs"):
            check_configs(profile, group["node_configs"])
        if group.get("flavor_id") is not None:
            self.flavor(str(group["flavor_id"]))
        if group.get("node_processes"):
            check_processes(profile, group["node_processes"])
        if group.get("image_id"):
            self.image(tenant, group["image_id"], profile)
        # Each is made with every node: without a limit a few bytes fill the memory.
        if (volumes := group.get("volumes_per_node") or 0) > MOST_DISKS:
            raise InvalidData(f"{volumes} volumes are too many for a node; {MOST_DISKS} at most")


def check_configs(profile: VersionProfile, configs: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Raises :class:`InvalidReference` for options that neither the plugin nor all plugins have."""
    if not configs:
        return
    known: dict[str, set[str]] = {name: set() for name in profile.node_processes}
    for config in profile.configs:
        known.setdefault(config.applicable_target, set()).add(config.name)
    for target, options in configs.items():
        if target not in known:
            raise InvalidReference(f"Plugin doesn't contain applicable target '{target[:255]}'")
        for name in options:
            if name not in known[target]:
                raise InvalidReference(
                    f"Plugin's applicable target '{target}' doesn't contain config with name "
                    f"'{name[:255]}'"
                )


def check_processes(profile: VersionProfile, processes: Sequence[str]) -> None:
    """Raises for processes that are named twice, or that the plugin does not have."""
    twice = duplicates(processes)
    if twice:
        raise InvalidData(f"Duplicates in node processes have been detected: {twice}")
    check_known_processes(profile, processes)


def check_known_processes(profile: VersionProfile, processes: Iterable[str]) -> None:
    """Raises :class:`InvalidReference` for processes that this version of the plugin does not have."""
    known = {p for some in profile.node_processes.values() for p in some}
    unknown = [process[:255] for process in processes if process not in known]
    if unknown:
        raise InvalidReference(f"Plugin doesn't support the following node processes: {unknown[:20]}")


def check_group_names(names: Iterable[str]) -> None:
    """Raises :class:`InvalidData` for groups of the same name."""
    twice = duplicates(names)
    if twice:
        raise InvalidData(f"Duplicates in node group names are detected: {twice}")


def duplicates(names: Iterable[str]) -> list[str]:
    """Returns the names that stand there more than once, the first twenty of them."""
    return [name for name, count in Counter(names).items() if count > 1][:20]
