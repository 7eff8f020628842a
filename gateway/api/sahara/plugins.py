"""Plugins: what there is to make clusters with."""

from __future__ import annotations

from gateway.api.http import Answer
from gateway.api.sahara import bodies
from gateway.api.sahara.routing import Asked, accepted, route
from gateway.dataprocessing import schemas
from gateway.dataprocessing.errors import InvalidReference, NotAllowed


async def list_plugins(asked: Asked) -> Answer:
    found = await asked.call.run(asked.data.plugins.find, asked.tenant)
    return Answer({"plugins": [bodies.plugin(one, asked.old) for one in found]})


async def read_plugin(asked: Asked, plugin: str) -> Answer:
    found = await asked.call.run(asked.data.plugins.get, asked.tenant, plugin)
    return Answer({"plugin": bodies.plugin(found, asked.old)})


async def read_plugin_version(asked: Asked, plugin: str, version: str) -> Answer:
    found = await asked.call.run(asked.data.plugins.version, asked.tenant, plugin, version)
    return Answer({"plugin": bodies.plugin_version(found, asked.old)})


async def label_plugin(asked: Asked, plugin: str) -> Answer:
    if not asked.call.caller.is_trusted:
        raise NotAllowed
    given = asked.body(schemas.PLUGIN_LABELS)
    found = await asked.call.run(asked.data.plugins.set_labels, asked.tenant, plugin, given)
    body = bodies.plugin(found, asked.old)
    return accepted({"plugin": body if asked.old else {**body, "tenant_id": asked.tenant}})


async def convert_config(asked: Asked, plugin: str, version: str, template: str = "") -> Answer:
    """No plugin reads the configuration files of its software."""
    await asked.call.run(asked.data.plugins.plugins.choose, plugin, version)
    raise InvalidReference(
        f"Requested plugin '{plugin}' doesn't support converting config files to cluster templates"
    )


async def convert_config_as(asked: Asked, plugin: str, version: str, template: str) -> Answer:
    return await convert_config(asked, plugin, version, template)


_PLUGIN = "/plugins/{plugin}"
_CONVERT = _PLUGIN + "/{version}/convert-config"
_FILES = ("text", "text/plain", "application/xml", "application/octet-stream")

ROUTES = (
    route("GET", "/plugins", list_plugins, "The plugins", "SaharaPlugins"),
    route("GET", _PLUGIN, read_plugin, "A plugin", "SaharaPlugin"),
    route(
        "PATCH",
        _PLUGIN,
        label_plugin,
        "Changes labels of a plugin (administrators)",
        "SaharaLabelledPlugin",
        accepts=("SaharaPluginLabels",),
    ),
    route(
        "GET",
        _PLUGIN + "/{version}",
        read_plugin_version,
        "A version: its processes, options, and the tags that images must have",
        "SaharaPluginVersion",
    ),
    route("POST", _CONVERT, convert_config, "No plugin offers this: 400", accepts=_FILES),
    route(
        "POST",
        _CONVERT + "/{template}",
        convert_config_as,
        "No plugin offers this: 400",
        accepts=_FILES,
    ),
)
