"""Templates of node groups and of clusters."""

from __future__ import annotations

from typing import Any

from gateway.api.http import Answer, json_text
from gateway.api.sahara import bodies
from gateway.api.sahara.routing import (
    GONE,
    OLD_VOLUMES_SIZE,
    PAGING,
    Asked,
    accepted,
    listed,
    route,
)
from gateway.dataprocessing import schemas
from gateway.dataprocessing.listing import Columns, page
from gateway.dataprocessing.objects import ClusterTemplate, NodeGroupTemplate

_SORTABLE = frozenset({"id", "name", "plugin_name", "hadoop_version", "created_at", "updated_at"})
_FILTERABLE = frozenset(
    {
        "id",
        "name",
        "description",
        "plugin_name",
        "hadoop_version",
        "tenant_id",
        "is_public",
        "is_protected",
    }
)
COLUMNS = Columns(_SORTABLE, _FILTERABLE)
_NAMES = {"plugin_name": "plugin", "hadoop_version": "version", "tenant_id": "tenant"}


def _field(value: NodeGroupTemplate | ClusterTemplate, name: str) -> Any:
    return getattr(value, _NAMES.get(name, name))


# -- of node groups --------------------------------------------------------------------------------


async def list_node_group_templates(asked: Asked) -> Answer:
    query = asked.page(COLUMNS)
    found = await asked.call.run(asked.data.node_group_templates.find, asked.tenant)
    return listed(
        "node_group_templates",
        page(found, query, _field),
        lambda one: bodies.node_group_template(one, asked.old),
    )


async def create_node_group_template(asked: Asked) -> Answer:
    given = asked.body(schemas.NODE_GROUP_TEMPLATE)
    if asked.old:
        given.setdefault("volumes_size", OLD_VOLUMES_SIZE)
    create = asked.data.node_group_templates.create
    found = await asked.call.run(create, asked.tenant, given)
    return accepted({"node_group_template": bodies.node_group_template(found, asked.old)})


async def read_node_group_template(asked: Asked, template: str) -> Answer:
    found = await asked.call.run(asked.data.node_group_templates.get, asked.tenant, template)
    return Answer({"node_group_template": bodies.node_group_template(found, asked.old)})


async def update_node_group_template(asked: Asked, template: str) -> Answer:
    given = asked.body(schemas.NODE_GROUP_TEMPLATE_CHANGE)
    update = asked.data.node_group_templates.update
    found = await asked.call.run(update, asked.tenant, template, given)
    return accepted({"node_group_template": bodies.node_group_template(found, asked.old)})


async def delete_node_group_template(asked: Asked, template: str) -> Answer:
    await asked.call.run(asked.data.node_group_templates.delete, asked.tenant, template)
    return GONE


async def export_node_group_template(asked: Asked, template: str) -> Answer:
    found = await asked.call.run(asked.data.node_group_templates.get, asked.tenant, template)
    left_open = ("flavor_id", "security_groups", "image_id", "floating_ip_pool")
    return _file("node_group_template", bodies.exported(bodies.node_group_template(found), *left_open))


# -- of clusters -----------------------------------------------------------------------------------


async def list_cluster_templates(asked: Asked) -> Answer:
    query = asked.page(COLUMNS)
    found = await asked.call.run(asked.data.cluster_templates.find, asked.tenant)
    return listed(
        "cluster_templates",
        page(found, query, _field),
        lambda one: bodies.cluster_template(one, asked.old),
    )


async def create_cluster_template(asked: Asked) -> Answer:
    given = asked.with_sizes(asked.body(schemas.CLUSTER_TEMPLATE))
    found = await asked.call.run(asked.data.cluster_templates.create, asked.tenant, given)
    return accepted({"cluster_template": bodies.cluster_template(found, asked.old)})


async def read_cluster_template(asked: Asked, template: str) -> Answer:
    found = await asked.call.run(asked.data.cluster_templates.get, asked.tenant, template)
    return Answer({"cluster_template": bodies.cluster_template(found, asked.old)})


async def update_cluster_template(asked: Asked, template: str) -> Answer:
    given = asked.with_sizes(asked.body(schemas.CLUSTER_TEMPLATE_CHANGE))
    update = asked.data.cluster_templates.update
    found = await asked.call.run(update, asked.tenant, template, given)
    return accepted({"cluster_template": bodies.cluster_template(found, asked.old)})


async def delete_cluster_template(asked: Asked, template: str) -> Answer:
    await asked.call.run(asked.data.cluster_templates.delete, asked.tenant, template)
    return GONE


async def export_cluster_template(asked: Asked, template: str) -> Answer:
    found = await asked.call.run(asked.data.cluster_templates.get, asked.tenant, template)
    left_open = ("default_image_id", "node_groups")
    return _file("cluster_template", bodies.exported(bodies.cluster_template(found), *left_open))


def _file(name: str, body: dict[str, Any]) -> Answer:
    headers = (("Content-Disposition", f"attachment; filename={name}.json"),)
    return Answer(json_text({name: body}), content_type="application/json", headers=headers)


_GROUPS = "/node-group-templates"
_GROUP = _GROUPS + "/{template}"
_CLUSTERS = "/cluster-templates"
_CLUSTER = _CLUSTERS + "/{template}"
_LIST = (*PAGING, *sorted(_FILTERABLE))

ROUTES = (
    route(
        "GET",
        _GROUPS,
        list_node_group_templates,
        "Templates of node groups",
        "SaharaNodeGroupTemplates",
        query=_LIST,
    ),
    route(
        "POST",
        _GROUPS,
        create_node_group_template,
        "Creates a template of node groups",
        "SaharaNodeGroupTemplate",
        accepts=("SaharaNodeGroupTemplateDefinition",),
    ),
    route("GET", _GROUP, read_node_group_template, "A template", "SaharaNodeGroupTemplate"),
    route(
        "PUT",
        _GROUP,
        update_node_group_template,
        "Changes what is given of a template",
        "SaharaNodeGroupTemplate",
        accepts=("SaharaNodeGroupTemplateChange",),
    ),
    route("DELETE", _GROUP, delete_node_group_template, "Deletes a template that nothing uses"),
    route(
        "GET",
        _GROUP + "/export",
        export_node_group_template,
        "A template, to be created elsewhere",
        "SaharaExport",
    ),
    route(
        "GET",
        _CLUSTERS,
        list_cluster_templates,
        "Templates of clusters",
        "SaharaClusterTemplates",
        query=_LIST,
    ),
    route(
        "POST",
        _CLUSTERS,
        create_cluster_template,
        "Creates a template of clusters",
        "SaharaClusterTemplate",
        accepts=("SaharaClusterTemplateDefinition",),
    ),
    route("GET", _CLUSTER, read_cluster_template, "A template", "SaharaClusterTemplate"),
    route(
        "PUT",
        _CLUSTER,
        update_cluster_template,
        "Changes what is given of a template",
        "SaharaClusterTemplate",
        accepts=("SaharaClusterTemplateChange",),
    ),
    route("DELETE", _CLUSTER, delete_cluster_template, "Deletes a template that nothing uses"),
    route(
        "GET",
        _CLUSTER + "/export",
        export_cluster_template,
        "A template, to be created elsewhere",
        "SaharaExport",
    ),
)
