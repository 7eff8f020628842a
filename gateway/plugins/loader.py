"""Finds the plugins that are installed; one that is broken is reported, and the others load."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

import msgspec

from framework.model.errors import GatewayError
from gateway.plugins.exceptions import PluginError
from gateway.plugins.spi import Plugin, missing

log = logging.getLogger(__name__)

GROUP = "mesos_gateway.plugins"


class UnknownPlugin(PluginError):
    """No such plugin, or version of it."""

    code = "INVALID_REFERENCE"


class Plugins(msgspec.Struct, frozen=True):
    """What has been loaded, by name; ``broken``: a sentence for each that could not be."""

    loaded: Mapping[str, Plugin]
    broken: Mapping[str, str] = {}

    def get(self, name: str) -> Plugin:
        """Returns a plugin; raises :class:`UnknownPlugin`."""
        plugin = self.loaded.get(name)
        if plugin is None:
            why = self.broken.get(name)
            if why is not None:
                raise UnknownPlugin(f"the plugin {name!r} could not be loaded: {why}")
            there = ", ".join(sorted(self.loaded)) or "none"
            raise UnknownPlugin(f"there is no plugin with name {name!r}; there are: {there}")
        return plugin

    def check(self, name: str, version: str) -> Plugin:
        """Returns a plugin that has this version; raises :class:`UnknownPlugin`."""
        plugin = self.get(name)
        if version not in plugin.get_versions():
            raise UnknownPlugin(
                f"Requested plugin '{name}' doesn't support version '{version}'; "
                f"it has {', '.join(plugin.get_versions())}"
            )
        return plugin


def load(found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Loads every plugin that an installed distribution names in the group :data:`GROUP`.

    ``found`` replaces the entry points of this environment.
    """
    loaded: dict[str, Plugin] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        why = None
        if point.name in loaded or point.name in broken:
            why = f"two distributions offer it ({point.value} is one); uninstall one of them"
            loaded.pop(point.name, None)
        else:
            plugin, why = _load(point)
            if plugin is not None:
                loaded[point.name] = plugin
        if why is not None:
            log.error("the plugin %s is not loaded: %s", point.name, why)
            broken[point.name] = why
    return Plugins(loaded, broken)


def _load(point: EntryPoint) -> tuple[Plugin | None, str | None]:
    """Returns the plugin, or why there is none."""
    try:
        made = point.load()
        plugin = made() if isinstance(made, type) else made
        if lacks := missing(plugin):
            return None, f"{point.value} lacks the required methods {', '.join(lacks)}"
        shaped = plugin if isinstance(plugin, Plugin) else _with_defaults(plugin)
        shaped.name = point.name
        check(shaped)
    except GatewayError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - somebody else's code; the others must load
        return None, f"{point.value} fails with {type(error).__name__}: {error}"
    return shaped, None


def _with_defaults(plugin: object) -> Plugin:
    """Returns a plugin that was not derived from :class:`Plugin`, with what it leaves out."""
    kind = type(plugin)
    adapted: type[Plugin] = type(kind.__name__, (kind, Plugin), {})
    made = adapted.__new__(adapted)
    made.__dict__.update(vars(plugin))
    return made


def check(plugin: Plugin) -> None:
    """Raises :class:`PluginError` for a plugin whose own words contradict each other."""
    versions = plugin.get_versions()
    if not versions:
        raise PluginError("it has no versions")
    for version in versions:
        services = plugin.get_node_processes(version)
        seen: dict[str, str] = {}
        for service, processes in services.items():
            for process in processes:
                if process in seen:
                    raise PluginError(
                        f"version {version}: the process {process} belongs to {seen[process]} "
                        f"and to {service}"
                    )
                seen[process] = service
        for config in plugin.get_configs(version):
            if config.applicable_target not in (*services, "general"):
                raise PluginError(
                    f"version {version}: the option {config.name!r} is for "
                    f"{config.applicable_target!r}, which is no service of it"
                )
