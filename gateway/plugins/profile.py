"""What a plugin says of itself, asked once, when it is loaded: requests do not wait for its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

import msgspec

from gateway.plugins.exceptions import PluginError
from gateway.plugins.provisioning import GENERAL, Config, ConfigType, Scope
from gateway.plugins.spi import Plugin

T = TypeVar("T")
# Of a plugin or of a version of it: label -> whether it is so.
Statuses = Mapping[str, bool]
_CONFIGS = "and should return a list of gateway.plugins.provisioning.Config"


class VersionProfile(msgspec.Struct, frozen=True):
    """``node_processes`` by service; ``configs`` are all options, those that every plugin has first."""

    node_processes: Mapping[str, tuple[str, ...]]
    configs: tuple[Config, ...]
    required_image_tags: tuple[str, ...]


class Profile(msgspec.Struct, frozen=True):
    """``labels`` are those of the plugin; ``versions`` and ``version_labels`` are by version, in the
    plugin's order."""

    title: str
    description: str
    labels: Statuses
    versions: Mapping[str, VersionProfile]
    version_labels: Mapping[str, Statuses]


class Chosen(msgspec.Struct, frozen=True):
    """A plugin, in one of its versions."""

    plugin: Plugin
    version: str
    profile: VersionProfile


class _Label(msgspec.Struct):
    status: bool


class _Labels(msgspec.Struct):
    plugin_labels: dict[str, _Label] = {}
    version_labels: dict[str, dict[str, _Label]] = {}


def profile_of(plugin: Plugin) -> Profile:
    """Asks a plugin; raises :class:`PluginError` for answers that are of the wrong shape, or contradict
    each other."""
    versions = _asked(plugin.get_versions, tuple[str, ...], "a list of strings")
    if not versions:
        raise PluginError("it has no versions")
    labels = _asked(
        plugin.get_labels,
        _Labels,
        "{'plugin_labels': {LABEL: {'status': BOOL}}, 'version_labels': {VERSION: {LABEL: …}}}",
    )
    return Profile(
        title=_asked(plugin.get_title, str, "a text"),
        description=_asked(plugin.get_description, str, "a text"),
        labels=_statuses(labels.plugin_labels),
        versions={version: _of_version(plugin, version) for version in versions},
        version_labels={
            version: _statuses(labels.version_labels.get(version, {})) for version in versions
        },
    )


def _of_version(plugin: Plugin, version: str) -> VersionProfile:
    services = _asked(
        plugin.get_node_processes,
        dict[str, tuple[str, ...]],
        "{SERVICE: [PROCESS, …]}",
        version,
    )
    tags = _asked(plugin.get_required_image_tags, tuple[str, ...], "a list of strings", version)
    said = plugin.get_configs(version)
    if not isinstance(said, Iterable):
        raise PluginError(f"version {version}: get_configs returns {said!r:.100}, {_CONFIGS}")
    configs = tuple(said)
    _check_processes(version, services)
    _check_configs(version, configs, services)
    return VersionProfile(services, (*GENERAL, *configs), tags)


def _asked(method: Callable[..., Any], shape: type[T], should: str, *version: str) -> T:
    """Returns what a method returns; raises :class:`PluginError` for another shape than it should be."""
    said = method(*version)
    try:
        return msgspec.convert(said, shape)
    except msgspec.ValidationError as error:
        of = f"version {version[0]}: " if version else ""
        raise PluginError(
            f"{of}{method.__name__} returns {said!r:.100} ({error}), and should return {should}"
        ) from None


def _statuses(labels: Mapping[str, _Label]) -> dict[str, bool]:
    return {name: label.status for name, label in labels.items()}


def _check_processes(version: str, services: Mapping[str, tuple[str, ...]]) -> None:
    seen: dict[str, str] = {}
    for service, processes in services.items():
        for process in processes:
            if process in seen:
                raise PluginError(
                    f"version {version}: the process {process} belongs to {seen[process]} and to "
                    f"{service}"
                )
            seen[process] = service


def _check_configs(version: str, configs: Iterable[Config], services: Iterable[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for config in configs:
        if not isinstance(config, Config):
            raise PluginError(f"version {version}: get_configs returns {config!r:.100}, {_CONFIGS}")
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
