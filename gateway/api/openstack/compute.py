"""Nova's flavors and key pairs, as its API v2.1 has them without microversions."""

from __future__ import annotations

import datetime
from typing import Any

from framework.model.errors import Invalid
from gateway.api.documents import read_object
from gateway.api.http import Answer, Call
from gateway.api.openstack.routing import (
    COMPUTE,
    PAGING,
    compute_failed,
    link,
    no,
    page,
    route,
    tenant,
    versions,
)
from gateway.dataprocessing.catalogue import Flavor, Keypair, flavor_of
from gateway.dataprocessing.keypairs import check_name, new_key

_BASE = COMPUTE + "/v2.1"
_FLAVORS, _KEYPAIRS = _BASE + "/flavors", _BASE + "/os-keypairs"
# What sorts and restricts lists without changing who is in them, or has no meaning here.
_LENIENT = ("is_public", "sort_key", "sort_dir", "minRam", "minDisk")


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": "2.1",
        "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
        "links": [link(call, _BASE + "/")],
    }


async def list_compute_versions(call: Call) -> Answer:
    return versions([_version(call)])


async def read_compute_version(call: Call) -> Answer:
    return Answer({"version": _version(call)})


# -- flavors ----------------------------------------------------------------------------------------


async def list_flavors(call: Call) -> Answer:
    return await _flavors(call, lambda flavor: _flavor_in_short(call, flavor))


async def list_flavor_details(call: Call) -> Answer:
    return await _flavors(call, lambda flavor: _flavor(call, flavor))


async def _flavors(call: Call, view: Any) -> Answer:
    least_ram = call.query.integer("minRam", 0, 0, 2**62)
    least_disk = call.query.integer("minDisk", 0, 0, 2**62)
    found = await call.run(call.dataprocessing.catalogue.flavors)
    large = [one for one in found if one.mem_mb >= least_ram and one.disk_gb >= least_disk]
    shown, following = page(large, call)
    body: dict[str, Any] = {"flavors": [view(flavor) for flavor in shown]}
    if following is not None:
        body["flavors_links"] = [link(call, f"{call.pattern}?{following}", "next")]
    return Answer(body)


async def read_flavor(call: Call, flavor: str) -> Answer:
    found = await call.run(flavor_of, call.dataprocessing.catalogue, flavor)
    if found is None:
        raise no("Flavor", flavor)
    return Answer({"flavor": _flavor(call, found)})


async def read_flavor_specs(call: Call, flavor: str) -> Answer:
    """There are none; clients ask for them to show a flavor."""
    await read_flavor(call, flavor)
    return Answer({"extra_specs": {}})


def _flavor_in_short(call: Call, flavor: Flavor) -> dict[str, Any]:
    path = f"{_FLAVORS}/{flavor.id}"
    links = [link(call, path), link(call, path, "bookmark")]
    return {"id": flavor.id, "name": flavor.name, "links": links}


def _flavor(call: Call, flavor: Flavor) -> dict[str, Any]:
    cpus = flavor.cpus
    return {
        **_flavor_in_short(call, flavor),
        "ram": flavor.mem_mb,
        "disk": flavor.disk_gb,
        # A fraction is ours: Nova has whole ones only.
        "vcpus": int(cpus) if cpus == int(cpus) else cpus,
        "swap": "",
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
    }


# -- key pairs --------------------------------------------------------------------------------------


async def list_keypairs(call: Call) -> Answer:
    found = await call.run(call.dataprocessing.catalogue.keypairs, tenant(call))
    return Answer({"keypairs": [{"keypair": _keypair(key)} for key in found]})


async def create_keypair(call: Call) -> Answer:
    name, public = _wanted(call)
    check_name(name)
    private = None
    if public is None:
        made = await call.run(new_key, "generated")
        public, private = made.public, made.private
    project = tenant(call)
    user = call.caller.user or project
    key = await call.run(call.dataprocessing.keypairs.add, project, user, name, public)
    body = {**_keypair(key), "user_id": key.user}
    if private is not None:
        body["private_key"] = private
    return Answer({"keypair": body})


def _wanted(call: Call) -> tuple[str, str | None]:
    """Returns name and public key; raises :class:`Invalid`. Other fields have no meaning here."""
    asked = read_object(call.body, "the key pair").get("keypair")
    if not isinstance(asked, dict):
        raise Invalid('the key pair: expects {"keypair": {"name": "…"}}')
    name, public = asked.get("name"), asked.get("public_key")
    if not isinstance(name, str) or not (public is None or isinstance(public, str)):
        raise Invalid("the key pair: name and public_key are texts")
    if asked.get("type", "ssh") != "ssh":
        raise Invalid("the key pair: its type is ssh; there are no others here")
    return name, public


async def read_keypair(call: Call, keypair: str) -> Answer:
    key = await call.run(call.dataprocessing.keypairs.get, tenant(call), keypair)
    made = datetime.datetime.fromtimestamp(key.created_at, datetime.UTC)
    more = {
        "id": int(key.created_at * 1000) % 2**31,
        "user_id": key.user,
        "created_at": made.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return Answer({"keypair": {**_keypair(key), **more}})


async def delete_keypair(call: Call, keypair: str) -> Answer:
    await call.run(call.dataprocessing.keypairs.delete, tenant(call), keypair)
    return Answer("", status=202)


def _keypair(key: Keypair) -> dict[str, Any]:
    return {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint}


_failed = compute_failed

ROUTES = (
    route(
        "GET",
        COMPUTE,
        list_compute_versions,
        "Nova's versions",
        300,
        "ServiceVersions",
        _failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _BASE,
        read_compute_version,
        "Nova's version 2.1",
        200,
        "ServiceVersion",
        _failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _FLAVORS,
        list_flavors,
        "The names of the flavors",
        200,
        "FlavorNames",
        _failed,
        query=(*PAGING, *_LENIENT),
    ),
    route(
        "GET",
        _FLAVORS + "/detail",
        list_flavor_details,
        "The flavors",
        200,
        "Flavors",
        _failed,
        query=(*PAGING, *_LENIENT),
    ),
    route("GET", _FLAVORS + "/{flavor}", read_flavor, "A flavor", 200, "Flavor", _failed),
    route(
        "GET",
        _FLAVORS + "/{flavor}/os-extra_specs",
        read_flavor_specs,
        "More of a flavor: nothing",
        200,
        "FlavorSpecs",
        _failed,
    ),
    route("GET", _KEYPAIRS, list_keypairs, "The project's key pairs", 200, "Keypairs", _failed),
    route(
        "POST",
        _KEYPAIRS,
        create_keypair,
        "Stores a public key, or makes a pair and tells the private one once",
        200,
        "NewKeypair",
        _failed,
        accepts=("KeypairAsked",),
    ),
    route("GET", _KEYPAIRS + "/{keypair}", read_keypair, "A key pair", 200, "Keypair", _failed),
    route("DELETE", _KEYPAIRS + "/{keypair}", delete_keypair, "Deletes a key", 202, "Empty", _failed),
)
