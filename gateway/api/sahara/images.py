"""The registry of images."""

from __future__ import annotations

from gateway.api.http import Answer
from gateway.api.sahara import bodies
from gateway.api.sahara.routing import GONE, Asked, accepted, route
from gateway.dataprocessing import schemas


async def list_images(asked: Asked) -> Answer:
    query = asked.call.query
    found = await asked.call.run(
        asked.data.images.find, asked.tenant, query.one("name"), query.all("tags")
    )
    return Answer({"images": [bodies.image(one, asked.old) for one in found]})


async def read_image(asked: Asked, image: str) -> Answer:
    found = await asked.call.run(asked.data.images.get, asked.tenant, image)
    return Answer({"image": bodies.image(found, asked.old)})


async def register_image(asked: Asked, image: str) -> Answer:
    given = asked.body(schemas.IMAGE)
    found = await asked.call.run(
        asked.data.images.register, asked.tenant, image, given["username"], given.get("description")
    )
    return accepted({"image": bodies.image(found, asked.old)})


async def unregister_image(asked: Asked, image: str) -> Answer:
    await asked.call.run(asked.data.images.unregister, asked.tenant, image)
    return GONE


async def tag_image(asked: Asked, image: str) -> Answer:
    tags = asked.body(schemas.TAGS)["tags"]
    found = await asked.call.run(asked.data.images.tag, asked.tenant, image, tags)
    return accepted({"image": bodies.image(found, asked.old)})


async def untag_image(asked: Asked, image: str) -> Answer:
    tags = asked.body(schemas.TAGS)["tags"]
    found = await asked.call.run(asked.data.images.untag, asked.tenant, image, tags)
    return accepted({"image": bodies.image(found, asked.old)})


_IMAGE = "/images/{image}"

ROUTES = (
    route(
        "GET", "/images", list_images, "The registered images", "SaharaImages", query=("name", "tags")
    ),
    route("GET", _IMAGE, read_image, "A registered image", "SaharaImage"),
    route(
        "POST",
        _IMAGE,
        register_image,
        "Registers an image, and says whose commands run in it",
        "SaharaImage",
        accepts=("SaharaRegistration",),
    ),
    route("DELETE", _IMAGE, unregister_image, "Unregisters an image"),
    route("POST", _IMAGE + "/tag", tag_image, "Adds tags", "SaharaImage", accepts=("SaharaTags",)),
    route(
        "POST", _IMAGE + "/untag", untag_image, "Removes tags", "SaharaImage", accepts=("SaharaTags",)
    ),
)
