"""The plugins as a tenant sees them: what they say of themselves, and the labels they have there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.dataprocessing.errors import InvalidData, InvalidReference, NoSuchObject
from gateway.plugins.loader import Plugins
from gateway.plugins.profile import Chosen, Profile, Statuses, VersionProfile
from gateway.store import Store
from gateway.store.objects import Object


class Label(msgspec.Struct, frozen=True):
    """What a label means; one that is not ``mutable`` says what the plugin's author says."""

    description: str
    mutable: bool


LABELS: Mapping[str, Label] = {
    "enabled": Label("Plugin or its version is enabled and can be used by user.", True),
    "hidden": Label(
        "Existence of plugin or its version is hidden, but still can be used for cluster creation by "
        "CLI and directly by client.",
        True,
    ),
    "stable": Label("Indicates that plugin or its version are stable to be used", False),
    "deprecated": Label(
        "Plugin or its version is deprecated and will be removed in future releases. Please, consider "
        "to use another plugin or its version.",
        False,
    ),
}


class PluginInfo(msgspec.Struct, frozen=True):
    """A plugin as a project sees it, with the labels that it has there."""

    name: str
    title: str
    description: str
    versions: tuple[str, ...]
    labels: Statuses
    version_labels: Mapping[str, Statuses]


class VersionInfo(msgspec.Struct, frozen=True):
    plugin: PluginInfo
    profile: VersionProfile


class PluginShelf:
    """Methods block for as long as the store and the plugins take."""

    def __init__(self, store: Store, plugins: Plugins, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self.plugins = plugins

    def find(self, tenant: str) -> Sequence[PluginInfo]:
        """Returns all plugins, by name."""
        said = {one.name: one.body for one in self._store.objects.find("plugin-labels", tenant)}
        profiles = self.plugins.profiles
        return [_info(name, profiles[name], said.get(name, {})) for name in sorted(profiles)]

    def get(self, tenant: str, name: str) -> PluginInfo:
        """Raises :class:`NoSuchObject`."""
        return _info(name, self._profile(name), self._said(tenant, name))

    def version(self, tenant: str, name: str, version: str) -> VersionInfo:
        """Raises :class:`NoSuchObject`."""
        profile = self._profile(name)
        if version not in profile.versions:
            raise NoSuchObject(plugin_name=name[:255], version=version[:255])
        info = _info(name, profile, self._said(tenant, name))
        return VersionInfo(info, profile.versions[version])

    def usable(self, tenant: str, name: str, version: str) -> Chosen:
        """Returns a plugin that clusters may be made with.

        Raises :class:`gateway.plugins.loader.UnknownPlugin`, and :class:`InvalidReference` for one, or
        a version of it, that is not enabled.
        """
        chosen = self.plugins.choose(name, version)
        info = _info(name, self.plugins.profiles[name], self._said(tenant, name))
        if not info.labels.get("enabled", False):
            raise InvalidReference(f"the plugin {name!r} is not enabled")
        if not info.version_labels[version].get("enabled", False):
            raise InvalidReference(f"the version {version!r} of the plugin {name!r} is not enabled")
        return chosen

    def set_labels(self, tenant: str, name: str, changes: Mapping[str, Any]) -> PluginInfo:
        """Changes labels; ``changes`` has the shape of the schema PLUGIN_LABELS.

        Raises :class:`NoSuchObject`, :class:`InvalidReference` for a version that is none, and
        :class:`InvalidData` for a label that says what the plugin's author says.
        """
        profile = self._profile(name)
        of_plugin = _statuses(changes.get("plugin_labels", {}))
        of_versions = {v: _statuses(labels) for v, labels in changes.get("version_labels", {}).items()}
        for version in of_versions:
            if version not in profile.versions:
                raise InvalidReference(f"Plugin '{name}' doesn't have the version '{version[:255]}'")
        for labels in (of_plugin, *of_versions.values()):
            for label in labels:
                if not LABELS[label].mutable:
                    raise InvalidData(f"Label '{label}' can't be updated because it's not mutable")
        with self._store.transaction():
            before = self._said(tenant, name)
            versions = dict(before.get("versions", {}))
            for version, labels in of_versions.items():
                versions[version] = {**versions.get(version, {}), **labels}
            body = {"plugin": {**before.get("plugin", {}), **of_plugin}, "versions": versions}
            self._say(tenant, name, body)
        return self.get(tenant, name)

    def _profile(self, name: str) -> Profile:
        profile = self.plugins.profiles.get(name)
        if profile is None:
            raise NoSuchObject(plugin_name=name[:255])
        return profile

    def _said(self, tenant: str, name: str) -> Mapping[str, Any]:
        found = self._store.objects.look("plugin-labels", f"{tenant}/{name}")
        return {} if found is None else found.body

    def _say(self, tenant: str, name: str, body: dict[str, Any]) -> None:
        now = self._clock()
        key = f"{tenant}/{name}"
        objects = self._store.objects
        if objects.look("plugin-labels", key) is None:
            objects.add(Object("plugin-labels", key, tenant, name, body, created_at=now))
        else:
            objects.change(
                "plugin-labels",
                key,
                lambda old: msgspec.structs.replace(old, body=body, updated_at=now),
            )


def _statuses(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    return {label: bool(said["status"]) for label, said in labels.items() if label in LABELS}


def _info(name: str, profile: Profile, said: Mapping[str, Any]) -> PluginInfo:
    """``said``: what has been changed of the plugin's own labels."""
    changed = said.get("versions", {})
    return PluginInfo(
        name=name,
        title=profile.title,
        description=profile.description,
        versions=tuple(profile.versions),
        labels={**_known(profile.labels), **said.get("plugin", {})},
        version_labels={
            version: {**_known(labels), **changed.get(version, {})}
            for version, labels in profile.version_labels.items()
        },
    )


def _known(labels: Statuses) -> Statuses:
    return {label: status for label, status in labels.items() if label in LABELS}
