"""Finds the plugins that are installed; one that is broken is reported, and the others load."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from framework.model.errors import GatewayError
from gateway.plugins.calls import PluginCalls
from gateway.plugins.exceptions import PluginError
from gateway.plugins.profile import Chosen, Profile, profile_of
from gateway.plugins.spi import Plugin, missing, needs, offers

log = logging.getLogger(__name__)

GROUP = "mesos_gateway.plugins"


class UnknownPlugin(PluginError):
    """No such plugin, or version of it."""

    code = "INVALID_REFERENCE"


class Plugins(msgspec.Struct, frozen=True):
    """What has been loaded, and what that says of itself, by name; ``broken``: a sentence for each that
    could not be."""

    loaded: Mapping[str, Plugin]
    profiles: Mapping[str, Profile] = {}
    broken: Mapping[str, str] = {}

    @classmethod
    def of(cls, plugins: Mapping[str, Plugin]) -> Plugins:
        """Returns these, each under its name; raises what :func:`profile_of` does."""
        for name, plugin in plugins.items():
            plugin.name = name
        return cls(plugins, {name: profile_of(plugin) for name, plugin in plugins.items()})

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

    def choose(self, name: str, version: str) -> Chosen:
        """Returns a plugin in this version; raises :class:`UnknownPlugin`."""
        plugin = self.get(name)
        versions = self.profiles[name].versions
        if version not in versions:
            raise UnknownPlugin(
                f"Requested plugin '{name}' doesn't support version '{version}'; "
                f"it has {', '.join(versions)}"
            )
        return Chosen(plugin, version, versions[version])


def load(found: Iterable[EntryPoint] | None = None, calls: PluginCalls | None = None) -> Plugins:
    """Loads every plugin that an installed distribution names in the group :data:`GROUP`.

    ``found`` replaces the entry points of this environment; ``calls`` limits how long each may take.
    """
    calls = calls or PluginCalls()
    loaded: dict[str, Plugin] = {}
    profiles: dict[str, Profile] = {}
    broken: dict[str, str] = {}
    for name, values in _by_name(entry_points(group=GROUP) if found is None else found).items():
        try:
            loaded[name], profiles[name] = _load(name, values, calls)
        except GatewayError as error:
            broken[name] = str(error)
            log.error("the plugin %s is not loaded: %s", name, error)
    return Plugins(loaded, profiles, broken)


def _by_name(found: Iterable[EntryPoint]) -> dict[str, list[EntryPoint]]:
    """Returns the entry points of each name; the same one, found twice on the path, is one."""
    named: dict[str, list[EntryPoint]] = {}
    for point in found:
        others = named.setdefault(point.name, [])
        if all(point.value != other.value for other in others):
            others.append(point)
    return named


def _load(name: str, points: Sequence[EntryPoint], calls: PluginCalls) -> tuple[Plugin, Profile]:
    if len(points) > 1:
        offers_of = " and ".join(point.value for point in points)
        raise PluginError(f"two distributions offer it ({offers_of}); uninstall one of them")
    (point,) = points
    return calls.call(name, f"loading {point.value}", lambda: _made(point))


def _made(point: EntryPoint) -> tuple[Plugin, Profile]:
    made = point.load()
    plugin = made() if isinstance(made, type) else made
    if lacks := missing(plugin):
        raise PluginError(f"{point.value} lacks the required methods {', '.join(lacks)}")
    shaped = plugin if isinstance(plugin, Plugin) else _with_defaults(plugin)
    shaped.name = point.name
    return shaped, profile_of(shaped)


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
