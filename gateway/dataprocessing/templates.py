"""Templates of node groups and of clusters: made, changed, deleted, unless something is made of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gateway.clusters.model import Cluster
from gateway.dataprocessing.errors import InvalidReference, NotThere, UpdateFailed
from gateway.dataprocessing.objects import (
    INHERITED,
    ClusterTemplate,
    NodeGroup,
    NodeGroupTemplate,
)
from gateway.dataprocessing.shelf import Shelf, Words
from gateway.dataprocessing.validation import (
    Checks,
    check_configs,
    check_group_names,
    check_known_processes,
)
from gateway.plugins.profile import VersionProfile
from gateway.store import Store

Given = Mapping[str, Any]
Clock = Callable[[], float]
# What is no field of a group, and what of a cluster template's fields has another name in requests.
_SHARED = ("description", "is_public", "is_protected")
_CLUSTER_FIELDS = {
    "description": "description",
    "cluster_configs": "cluster_configs",
    "default_image_id": "default_image_id",
    "anti_affinity": "anti_affinity",
    "neutron_management_network": "network",
    "use_autoconfig": "use_autoconfig",
    "shares": "shares",
    "domain_name": "domain_name",
}


class ClustersInUse(Protocol):
    """What is used of :class:`gateway.clusters.service.Clusters`."""

    def find(
        self,
        owner: str | None = None,
        product: str | None = None,
        version: str | None = None,
        project: str | None = None,
        include_gone: bool = True,
    ) -> list[Cluster]: ...


def node_group(given: Given, now: float, base: NodeGroup | None = None) -> NodeGroup:
    """Returns the group that a request describes: what it leaves open is as in ``base``.

    ``given`` has passed its schema; without ``base`` it has a flavor and processes.
    """
    fields = {name: value for name, value in given.items() if name in INHERITED}
    if "flavor_id" in fields:
        fields["flavor_id"] = str(fields["flavor_id"])
    if "node_processes" in fields:
        fields["node_processes"] = tuple(fields["node_processes"])
    own = {name: given[name] for name in ("name", "count", "node_group_template_id") if name in given}
    if base is None:
        return NodeGroup(id=_new_id(), created_at=now, **own, **fields)
    return msgspec.structs.replace(base, **own, **fields)


class NodeGroupTemplates:
    """Methods block for as long as the store takes, and raise types of
    :mod:`gateway.dataprocessing.errors`. Requests (``given``) have passed their schemas."""

    def __init__(self, store: Store, clusters: ClustersInUse, checks: Checks, clock: Clock) -> None:
        words = Words("NodeGroup template", "NodeGroupTemplate")
        self._shelf = Shelf(store, "node-group-template", NodeGroupTemplate, words)
        self._users = Shelf(store, "cluster-template", ClusterTemplate, _CLUSTER_WORDS)
        self._store = store
        self._clusters = clusters
        self._checks = checks
        self._clock = clock

    def find(self, tenant: str) -> Sequence[NodeGroupTemplate]:
        return self._shelf.find(tenant)

    def get(self, tenant: str, template_id: str) -> NodeGroupTemplate:
        return self._shelf.get(tenant, template_id)

    def look(self, tenant: str, template_id: str) -> NodeGroupTemplate | None:
        return self._shelf.look(tenant, template_id)

    def create(self, tenant: str, given: Given) -> NodeGroupTemplate:
        version = given["hadoop_version"]
        chosen = self._checks.plugin(tenant, given["plugin_name"], version)
        self._checks.node_group(tenant, chosen.profile, given)
        now = self._clock()
        template = NodeGroupTemplate(
            id=_new_id(),
            tenant=tenant,
            plugin=given["plugin_name"],
            version=version,
            group=node_group(given, now),
            description=given.get("description"),
            is_public=bool(given.get("is_public")),
            is_protected=bool(given.get("is_protected")),
            created_at=now,
        )
        return self._shelf.add(template)

    def update(self, tenant: str, template_id: str, given: Given) -> NodeGroupTemplate:
        """Changes what is given; cluster templates that it is part of change with it.

        Raises :class:`UpdateFailed` if one of these is protected and would change.
        """
        before = self._shelf.get(tenant, template_id)
        name, version = _plugin_given(given, before.plugin, before.version)
        chosen = self._checks.plugin(tenant, name, version)
        # Another plugin must know what stays as it was, too.
        same = (name, version) == (before.plugin, before.version)
        whole = given if same else {**msgspec.structs.asdict(before.group), **given}
        self._checks.node_group(tenant, chosen.profile, whole)
        now = self._clock()

        def change(old: NodeGroupTemplate) -> NodeGroupTemplate:
            self._shelf.check_change(old, tenant, given)
            if self._clusters_of(tenant, template_id):
                raise UpdateFailed(
                    f"NodeGroupTemplate id '{template_id}' can not be updated. It is referenced by an "
                    "existing cluster."
                )
            return msgspec.structs.replace(
                old,
                plugin=name,
                version=version,
                group=node_group(given, now, old.group),
                updated_at=now,
                **_shared(given),
            )

        with self._store.transaction():
            changed = self._shelf.change(tenant, template_id, change)
            differs = _differ(before.group, changed.group)
            for user in self._users_of(tenant, template_id):
                if differs:
                    self._users.check_change(user, tenant, {"node_groups": user.node_groups})
                elif user.is_protected:
                    continue
                self._users.change(tenant, user.id, lambda old: _regrouped(old, changed, now))
        return changed

    def delete(self, tenant: str, template_id: str) -> None:
        with self._store.transaction():
            self._shelf.check_delete(self._shelf.get(tenant, template_id), tenant)
            templates = [user.name for user in self._users_of(tenant, template_id)]
            clusters = self._clusters_of(tenant, template_id)
            if templates or clusters:
                raise InvalidReference(
                    f"Node group template {template_id} is in use by cluster templates: "
                    f"{_named(templates)}; and clusters: {_named(clusters)}"
                )
            self._shelf.delete(template_id)

    def _users_of(self, tenant: str, template_id: str) -> list[ClusterTemplate]:
        return [
            user
            for user in self._users.find(tenant)
            if user.tenant == tenant
            and any(group.node_group_template_id == template_id for group in user.node_groups)
        ]

    def _clusters_of(self, tenant: str, template_id: str) -> list[str]:
        return [
            cluster.name
            for cluster in self._clusters.find(project=tenant, include_gone=False)
            if any(g.extra.get("node_group_template_id") == template_id for g in cluster.groups)
        ]


class ClusterTemplates:
    """As :class:`NodeGroupTemplates`."""

    def __init__(
        self,
        store: Store,
        clusters: ClustersInUse,
        groups: NodeGroupTemplates,
        checks: Checks,
        clock: Clock,
    ) -> None:
        self._shelf = Shelf(store, "cluster-template", ClusterTemplate, _CLUSTER_WORDS)
        self._store = store
        self._clusters = clusters
        self._groups = groups
        self._checks = checks
        self._clock = clock

    def find(self, tenant: str) -> Sequence[ClusterTemplate]:
        return self._shelf.find(tenant)

    def get(self, tenant: str, template_id: str) -> ClusterTemplate:
        return self._shelf.get(tenant, template_id)

    def look(self, tenant: str, template_id: str) -> ClusterTemplate | None:
        return self._shelf.look(tenant, template_id)

    def create(self, tenant: str, given: Given) -> ClusterTemplate:
        version = given["hadoop_version"]
        chosen = self._checks.plugin(tenant, given["plugin_name"], version)
        self._check(tenant, chosen.profile, given)
        now = self._clock()
        template = ClusterTemplate(
            id=_new_id(),
            tenant=tenant,
            name=given["name"],
            plugin=given["plugin_name"],
            version=version,
            node_groups=self.groups(tenant, given.get("node_groups") or (), now),
            is_public=bool(given.get("is_public")),
            is_protected=bool(given.get("is_protected")),
            created_at=now,
            **_cluster_fields(given),
        )
        return self._shelf.add(template)

    def update(self, tenant: str, template_id: str, given: Given) -> ClusterTemplate:
        before = self._shelf.get(tenant, template_id)
        name, version = _plugin_given(given, before.plugin, before.version)
        chosen = self._checks.plugin(tenant, name, version)
        same = (name, version) == (before.plugin, before.version)
        self._check(tenant, chosen.profile, given if same else {**_as_given(before), **given})
        now = self._clock()
        new: dict[str, Any] = {**_cluster_fields(given), **_shared(given)}
        if "name" in given:
            new["name"] = given["name"]
        if "node_groups" in given:
            new["node_groups"] = self.groups(tenant, given["node_groups"] or (), now)

        def change(old: ClusterTemplate) -> ClusterTemplate:
            self._shelf.check_change(old, tenant, given)
            if self._clusters_of(tenant, template_id):
                raise UpdateFailed(
                    f"Cluster Template id '{template_id}' can not be updated. It is referenced by at "
                    "least one cluster."
                )
            return msgspec.structs.replace(old, plugin=name, version=version, updated_at=now, **new)

        with self._store.transaction():
            return self._shelf.change(tenant, template_id, change)

    def delete(self, tenant: str, template_id: str) -> None:
        with self._store.transaction():
            self._shelf.check_delete(self._shelf.get(tenant, template_id), tenant)
            clusters = self._clusters_of(tenant, template_id)
            if clusters:
                raise InvalidReference(
                    f"Cluster template {template_id} in use by {', '.join(clusters[:20])}"
                )
            self._shelf.delete(template_id)

    def groups(self, tenant: str, asked: Sequence[Given], now: float) -> tuple[NodeGroup, ...]:
        """Returns groups with what their templates say filled in.

        Raises :class:`NotThere` for a template that is not.
        """
        found = []
        for given in asked:
            base = None
            if given.get("node_group_template_id") is not None:
                template = self._template(tenant, given["node_group_template_id"])
                base = msgspec.structs.replace(
                    template.group, id=_new_id(), created_at=now, updated_at=None
                )
            found.append(node_group(given, now, base))
        return tuple(found)

    def check_groups(self, tenant: str, profile: VersionProfile, asked: Sequence[Given]) -> None:
        """Raises for groups of one name, and for what they, or their templates, have that cannot be."""
        check_group_names(given["name"] for given in asked)
        for given in asked:
            if given.get("node_group_template_id") is not None:
                template = self._template(tenant, given["node_group_template_id"])
                whole = msgspec.structs.asdict(template.group)
                self._checks.node_group(tenant, profile, whole)
            self._checks.node_group(tenant, profile, given)

    def _template(self, tenant: str, template_id: str) -> NodeGroupTemplate:
        template = self._groups.look(tenant, template_id)
        if template is None:
            raise NotThere(f"NodeGroup template with id '{template_id[:255]}' not found")
        return template

    def _check(self, tenant: str, profile: VersionProfile, given: Given) -> None:
        if given.get("default_image_id"):
            self._checks.image(tenant, given["default_image_id"], profile)
        check_configs(profile, given.get("cluster_configs"))
        if given.get("anti_affinity"):
            check_known_processes(profile, given["anti_affinity"])
        if given.get("neutron_management_network"):
            self._checks.network(given["neutron_management_network"])
        self.check_groups(tenant, profile, given.get("node_groups") or ())

    def _clusters_of(self, tenant: str, template_id: str) -> list[str]:
        return [
            cluster.name
            for cluster in self._clusters.find(project=tenant, include_gone=False)
            if cluster.extra.get("cluster_template_id") == template_id
        ]


_CLUSTER_WORDS = Words("Cluster template", "ClusterTemplate")


def _plugin_given(given: Given, name: str, version: str) -> tuple[str, str]:
    """Returns the plugin and the version after a change; raises :class:`InvalidReference`."""
    if "plugin_name" in given and "hadoop_version" not in given:
        raise InvalidReference("You must specify a hadoop_version value for your plugin_name")
    return given.get("plugin_name", name), given.get("hadoop_version", version)


def _shared(given: Given) -> dict[str, Any]:
    found = {name: given[name] for name in _SHARED if name in given}
    return {n: bool(v) if n.startswith("is_") else v for n, v in found.items()}


def _cluster_fields(given: Given) -> dict[str, Any]:
    return {field: given[name] for name, field in _CLUSTER_FIELDS.items() if name in given}


def _as_given(template: ClusterTemplate) -> dict[str, Any]:
    """Returns a template's fields as a request has them."""
    found = {name: getattr(template, field) for name, field in _CLUSTER_FIELDS.items()}
    groups = [msgspec.structs.asdict(group) for group in template.node_groups]
    return {**found, "node_groups": groups}


def _regrouped(old: ClusterTemplate, changed: NodeGroupTemplate, now: float) -> ClusterTemplate:
    """Returns a cluster template whose groups are again as their template ``changed``."""
    new = {name: getattr(changed.group, name) for name in INHERITED}
    groups = tuple(
        msgspec.structs.replace(group, **new, updated_at=now)
        if group.node_group_template_id == changed.id
        else group
        for group in old.node_groups
    )
    return msgspec.structs.replace(old, node_groups=groups, updated_at=now)


def _differ(one: NodeGroup, other: NodeGroup) -> bool:
    """Whether groups of the one template are others than those of the other."""
    return any(getattr(one, name) != getattr(other, name) for name in INHERITED)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) or "N/A"


def _new_id() -> str:
    return str(uuid.uuid4())
