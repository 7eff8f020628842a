"""Glance's images: those of the catalogue, read-only."""

from __future__ import annotations

import datetime
from typing import Any

from gateway.api.http import Answer, Call
from gateway.api.openstack.routing import IMAGE, PAGING, image_failed, link, no, page, route, versions
from gateway.dataprocessing.catalogue import Image, image_of

_IMAGES = IMAGE + "/v2/images"
_LENIENT = ("sort", "sort_key", "sort_dir", "fields", "member_status")
_TRAITS = ("visibility", "status", "os_hidden")


def _version(call: Call) -> dict[str, Any]:
    return {"id": "v2.0", "status": "CURRENT", "links": [link(call, IMAGE + "/v2/")]}


async def list_image_versions(call: Call) -> Answer:
    return versions([_version(call)])


async def read_image_version(call: Call) -> Answer:
    return versions([_version(call)])


async def list_cloud_images(call: Call) -> Answer:
    name, one_id = call.query.one("name"), call.query.one("id")
    found = await call.run(call.dataprocessing.catalogue.images)
    wanted = [
        image
        for image in found
        if name in (None, image.name) and one_id in (None, image.id) and _in_general(call)
    ]
    shown, following = page(wanted, call)
    body: dict[str, Any] = {
        "images": [_image(image) for image in shown],
        "schema": "/v2/schemas/images",
        "first": "/v2/images",
    }
    if following is not None:
        body["next"] = f"/v2/images?{following}"
    return Answer(body)


def _in_general(call: Call) -> bool:
    """Whether images as all of these are (public, active, not hidden) are asked for."""
    query = call.query
    return (
        query.one("visibility") in (None, "public", "all")
        and query.one("status") in (None, "active")
        and not query.flag("os_hidden")
    )


async def read_cloud_image(call: Call, image: str) -> Answer:
    found = await call.run(image_of, call.dataprocessing.catalogue, image)
    if found is None:
        raise no("Image", image)
    return Answer(_image(found))


def _image(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "status": "active",
        "visibility": "public",
        "protected": True,
        "os_hidden": False,
        "container_format": "docker",
        "disk_format": "raw",
        "size": image.size,
        "virtual_size": None,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "owner": None,
        "checksum": None,
        "tags": [],
        "docker_image": image.reference,
        "created_at": _zulu(image.created_at),
        "updated_at": _zulu(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def _zulu(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


ROUTES = (
    route(
        "GET",
        IMAGE,
        list_image_versions,
        "Glance's versions",
        300,
        "ServiceVersions",
        image_failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        IMAGE + "/v2",
        read_image_version,
        "Glance's versions, too",
        300,
        "ServiceVersions",
        image_failed,
        kind="open",
        local=True,
    ),
    route(
        "GET",
        _IMAGES,
        list_cloud_images,
        "The images that there are",
        200,
        "CloudImages",
        image_failed,
        query=("name", "id", *PAGING, *_LENIENT, *_TRAITS),
    ),
    route("GET", _IMAGES + "/{image}", read_cloud_image, "An image", 200, "CloudImage", image_failed),
)
