"""Products: register, list, show, change part by part, delete."""

from __future__ import annotations

import msgspec

from framework.model.errors import Invalid
from framework.model.jobs import check_segment
from gateway.api.documents import read_object, read_text, read_value
from gateway.api.http import JSON, Answer, Call, json_text
from gateway.api.paas import bodies
from gateway.api.paas.routing import check_operator, route
from gateway.clusters.products import template_type_of

NOTHING = Answer("", status=204)


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /products."""

    name: str
    version: str
    description: str = ""
    logo_url: str = ""


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT /products/NAME/VERSION: what is left out stays."""

    description: str | None = None
    logo_url: str | None = None


async def list_products(call: Call) -> Answer:
    names = await call.run(call.clusters.catalogue.names)
    return Answer({"products": list(names)})


async def register_product(call: Call) -> Answer:
    check_operator(call, "products")
    asked = read_value(call.body, Registration, "the product")
    product = await call.run(
        call.clusters.catalogue.register,
        asked.name,
        asked.version,
        asked.description,
        asked.logo_url,
    )
    url = f"{call.base}{bodies.PREFIX}/{product.dn}"
    return Answer("", status=201, headers=(("Location", url),))


async def list_versions(call: Call, name: str) -> Answer:
    check_segment("product", name)
    versions = await call.run(call.clusters.catalogue.versions, name)
    return Answer({"versions": list(versions)})


async def read_product(call: Call, name: str, version: str) -> Answer:
    _check(name, version)
    return Answer(bodies.product(await call.run(call.clusters.catalogue.get, name, version)))


async def describe_product(call: Call, name: str, version: str) -> Answer:
    check_operator(call, "products")
    _check(name, version)
    texts = read_value(call.body, Texts, "the product's texts")
    await call.run(call.clusters.catalogue.describe, name, version, texts.description, texts.logo_url)
    return NOTHING


async def delete_product(call: Call, name: str, version: str) -> Answer:
    check_operator(call, "products")
    _check(name, version)
    await call.run(call.clusters.catalogue.delete, name, version)
    return NOTHING


# -- the parts of a product ------------------------------------------------------------------------


async def read_template(call: Call, name: str, version: str) -> Answer:
    _check(name, version)
    product = await call.run(call.clusters.catalogue.get, name, version)
    return _text(product.template, (("X-Template-Type", product.template_type),))


async def set_template(call: Call, name: str, version: str) -> Answer:
    """The Content-Type says what the template renders to: YAML, and JSON if it says nothing else."""
    check_operator(call, "products")
    _check(name, version)
    source = read_text(call.body, "the template")
    kind = template_type_of(call.headers.get("Content-Type", ""))
    await call.run(call.clusters.catalogue.set_template, name, version, source, kind)
    return NOTHING


async def read_options(call: Call, name: str, version: str) -> Answer:
    _check(name, version)
    return Answer(bodies.options(await call.run(call.clusters.catalogue.get, name, version)))


async def set_options(call: Call, name: str, version: str) -> Answer:
    check_operator(call, "products")
    _check(name, version)
    document = read_object(call.body, "options")
    await call.run(call.clusters.catalogue.set_options, name, version, document)
    return NOTHING


async def read_orchestrator(call: Call, name: str, version: str) -> Answer:
    _check(name, version)
    return _text((await call.run(call.clusters.catalogue.get, name, version)).orchestrator)


async def set_orchestrator(call: Call, name: str, version: str) -> Answer:
    """The body is the script, whatever its Content-Type."""
    check_operator(call, "products")
    _check(name, version)
    script = read_text(call.body, "the orchestrator script")
    await call.run(call.clusters.catalogue.set_orchestrator, name, version, script)
    return NOTHING


async def read_logo(call: Call, name: str, version: str) -> Answer:
    _check(name, version)
    product = await call.run(call.clusters.catalogue.get, name, version)
    return Answer({"logo_url": product.logo_url})


async def set_logo(call: Call, name: str, version: str) -> Answer:
    check_operator(call, "products")
    _check(name, version)
    given = read_object(call.body, "the logo")
    if set(given) != {"logo_url"} or not isinstance(given["logo_url"], str):
        raise Invalid('the logo: expects {"logo_url": "https://…"}')
    await call.run(call.clusters.catalogue.describe, name, version, None, given["logo_url"])
    return NOTHING


def _check(name: str, version: str) -> None:
    check_segment("product", name)
    check_segment("version", version)


def _text(source: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A source is answered as one JSON string."""
    return Answer(json_text(source), content_type=JSON, headers=headers)


_PRODUCTS = bodies.PREFIX + "/products"
_PRODUCT = _PRODUCTS + "/{product}/{version}"
_SCRIPT = ("text/x-python", "text/plain", "application/json", "application/octet-stream")
_TEMPLATES = ("application/json", "application/yaml")


ROUTES = (
    route("GET", _PRODUCTS, list_products, "The names of the products", 200, schema="Products"),
    route("POST", _PRODUCTS, register_product, "Registers a product", 201, accepts=("Registration",)),
    route("GET", _PRODUCTS + "/{product}", list_versions, "Its versions", 200, schema="Versions"),
    route("GET", _PRODUCT, read_product, "A product", 200, schema="Product"),
    route(
        "PUT",
        _PRODUCT,
        describe_product,
        "Changes its description and its logo's address",
        204,
        accepts=("ProductTexts",),
    ),
    route("DELETE", _PRODUCT, delete_product, "Deletes a product without clusters", 204),
    route("GET", _PRODUCT + "/template", read_template, "The product's template", 200, schema="Text"),
    route(
        "PUT",
        _PRODUCT + "/template",
        set_template,
        "Changes the template: Jinja2 that renders to JSON or YAML",
        204,
        accepts=("text", *_TEMPLATES),
    ),
    route("GET", _PRODUCT + "/options", read_options, "Its options", 200, schema="ProductOptions"),
    route(
        "PUT",
        _PRODUCT + "/options",
        set_options,
        "Changes the options",
        204,
        accepts=("ProductOptions",),
    ),
    route(
        "GET", _PRODUCT + "/orchestrator", read_orchestrator, "The product's script", 200, schema="Text"
    ),
    route(
        "PUT",
        _PRODUCT + "/orchestrator",
        set_orchestrator,
        "Changes the script that configures its clusters (…/orquestrator does the same)",
        204,
        accepts=("text", *_SCRIPT),
    ),
    route("GET", _PRODUCT + "/logo_url", read_logo, "The address of its logo", 200, schema="Logo"),
    route("PUT", _PRODUCT + "/logo_url", set_logo, "Changes that address", 204, accepts=("Logo",)),
)
