"""The operator's side of flavors and images: what is offered, changed while the server runs. Ours."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from framework.model.errors import Invalid, NotFound
from gateway.api.documents import read_value
from gateway.api.http import Answer, Call
from gateway.api.paas.routing import check_operator, route
from gateway.dataprocessing.catalogue import Catalogue, Flavor, Image, flavor_of, image_of
from gateway.dataprocessing.catalogue_file import FlavorEntry, ImageEntry, id_of
from gateway.dataprocessing.catalogue_file import flavor_of as flavor_from
from gateway.dataprocessing.catalogue_file import image_of as image_from
from gateway.dataprocessing.formats import is_uuid

_BASE = "/resources/catalogue/v1"
_FLAVOR, _IMAGE = _BASE + "/flavors/{flavor}", _BASE + "/images/{image}"
_GONE = Answer("", status=204)


async def list_offered_flavors(call: Call) -> Answer:
    found = await call.run(call.dataprocessing.catalogue.flavors)
    return Answer({"flavors": [_flavor(one) for one in found]})


async def read_offered_flavor(call: Call, flavor: str) -> Answer:
    found = await call.run(flavor_of, call.dataprocessing.catalogue, flavor)
    if found is None:
        raise NotFound(f"there is no flavor with the id {flavor[:255]!r}")
    return Answer(_flavor(found))


async def put_flavor(call: Call, flavor: str) -> Answer:
    check_operator(call, "flavors")
    entry = read_value(call.body, FlavorEntry, "the flavor")
    _check_id("flavor", entry.id, flavor)
    wanted = flavor_from(entry, flavor)
    await call.run(call.dataprocessing.offers.put_flavor, wanted)
    return Answer(_flavor(wanted))


async def withdraw_flavor(call: Call, flavor: str) -> Answer:
    check_operator(call, "flavors")
    await call.run(call.dataprocessing.offers.withdraw_flavor, flavor)
    return _GONE


async def list_offered_images(call: Call) -> Answer:
    found = await call.run(call.dataprocessing.catalogue.images)
    return Answer({"images": [_image(one) for one in found]})


async def read_offered_image(call: Call, image: str) -> Answer:
    catalogue = call.dataprocessing.catalogue
    found = await call.run(lambda: image_of(catalogue, _image_id(catalogue, image)))
    if found is None:
        raise NotFound(f"there is no image with the id or the name {image[:255]!r}")
    return Answer(_image(found))


async def put_image(call: Call, image: str) -> Answer:
    check_operator(call, "images")
    entry = read_value(call.body, ImageEntry, "the image")
    if not is_uuid(image) and entry.name != image:
        raise Invalid(
            f"the image is called {entry.name[:60]!r} in the body and {image[:60]!r} in the path; "
            "the path has the same name, or a UUID"
        )
    data = call.dataprocessing

    def put() -> Image:
        image_id = _image_id(data.catalogue, image)
        _check_id("image", entry.id.lower(), image_id)
        return data.offers.put_image(image_from(entry, image_id))

    return Answer(_image(await call.run(put)))


async def withdraw_image(call: Call, image: str) -> Answer:
    check_operator(call, "images")
    data = call.dataprocessing
    await call.run(lambda: data.offers.withdraw_image(_image_id(data.catalogue, image)))
    return _GONE


def _check_id(what: str, in_body: str, by_path: str) -> None:
    """Raises :class:`Invalid` for a body with another id than the path's, which counts."""
    if in_body not in ("", by_path):
        raise Invalid(
            f"the {what}'s id is {in_body[:60]!r} in the body and {by_path[:60]!r} by the path; leave "
            "it out of the body, or write the same"
        )


def _image_id(catalogue: Catalogue, text: str) -> str:
    """Returns the id of the image that a path calls by its id or its name; of a new one it follows
    from the name, as in the catalogue's file. Blocks."""
    if is_uuid(text):
        return str(uuid.UUID(text))  # as it is kept
    known = (one.id for one in catalogue.images() if one.name == text)
    return next(known, None) or id_of("image", text)


def _flavor(flavor: Flavor) -> dict[str, Any]:
    """As it is written in the catalogue's file."""
    entry = FlavorEntry(flavor.name, flavor.cpus, flavor.mem_mb, flavor.disk_gb, flavor.id)
    body: dict[str, Any] = msgspec.to_builtins(entry)
    return body


def _image(image: Image) -> dict[str, Any]:
    names = ImageEntry.__struct_fields__
    entry = ImageEntry(**{name: getattr(image, name) for name in names})
    body: dict[str, Any] = msgspec.to_builtins(entry)
    return {**body, "tags": list(image.tags)}


ROUTES = (
    route("GET", _BASE + "/flavors", list_offered_flavors, "The flavors", 200, "OfferedFlavors"),
    route("GET", _FLAVOR, read_offered_flavor, "A flavor", 200, "OfferedFlavor"),
    route(
        "PUT",
        _FLAVOR,
        put_flavor,
        "Offers a flavor, or changes it",
        200,
        "OfferedFlavor",
        accepts=("FlavorEntry",),
    ),
    route("DELETE", _FLAVOR, withdraw_flavor, "Offers a flavor no longer", 204),
    route("GET", _BASE + "/images", list_offered_images, "The images", 200, "OfferedImages"),
    route("GET", _IMAGE, read_offered_image, "An image", 200, "OfferedImage"),
    route(
        "PUT",
        _IMAGE,
        put_image,
        "Offers an image, or changes it",
        200,
        "OfferedImage",
        accepts=("ImageEntry",),
    ),
    route("DELETE", _IMAGE, withdraw_image, "Offers an image no longer", 204),
)
