"""Finds the plugins that are installed; one that is broken is reported, and the others load."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

import msgspec

from framework.model.errors import GatewayError
from gateway.plugins.exceptions import PluginError
from gateway.plugins.provisioning import Config, ConfigType, Scope
from gateway.plugins.spi import Plugin, missing, needs, offers

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
    seen: dict[str, str] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        why = None
        if seen.setdefault(point.name, point.value) == point.value and point.name in {*loaded, *broken}:
            continue  # the same one, found twice on the path
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
    """Returns what calls a plugin that was not derived from :class:`Plugin`; what it does not offer
    has the default, or is not offered either."""
    methods = {name: _passed_on(getattr(plugin, name)) for name in needs() if offers(plugin, name)}
    adapted: type[Plugin] = type(type(plugin).__name__, (Plugin,), methods)
    return adapted()


def _passed_on(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(adapted: Plugin, *arguments: Any, **named: Any) -> Any:
        return method(*arguments, **named)

    return call


def check(plugin: Plugin) -> None:
    """Raises :class:`PluginError` for a plugin whose own words contradict each other."""
    versions = plugin.get_versions()
    if isinstance(versions, str) or not all(isinstance(one, str) for one in versions):
        raise PluginError(f"its versions are {versions!r:.100}, and should be a list of strings")
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
        _check_configs(version, plugin.get_configs(version), services)


def _check_configs(version: str, configs: Iterable[Config], services: Iterable[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for config in configs:
        what = f"version {version}: the option {config.name!r}"
        if config.applicable_target not in (*services, "general"):
            raise PluginError(f"{what} is for {config.applicable_target!r}, which is no service of it")
        if (config.applicable_target, config.name) in seen:
            raise PluginError(f"{what} is there twice for {config.applicable_target}")
        if config.scope not in get_args(Scope) or config.config_type not in get_args(ConfigType):
            raise PluginError(
                f"{what} has the scope {config.scope!r} and the type {config.config_type!r}; scopes "
                f"are {', '.join(get_args(Scope))}, types {', '.join(get_args(ConfigType))}"
            )
        seen.add((config.applicable_target, config.name))
