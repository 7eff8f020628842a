"""``gatewayctl product …``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gatewayctl.client import API, CONFLICT, Client, Failure, segment
from gatewayctl.context import Context, parse_product, pass_context
from gatewayctl.output import plain, show_json, show_table

_TEMPLATES = {
    "template.json": "application/json",
    "template.json.j2": "application/json",
    "template.yaml": "application/yaml",
    "template.yml": "application/yaml",
    "template.yaml.j2": "application/yaml",
}
_SECTIONS = ("required", "optional", "advanced")
_SCRIPTS = ("orchestrator.py", "fabfile.py", "orchestrator.sh", "orchestrator")


@click.group()
def product() -> None:
    """Products: what there can be clusters of."""


@product.command("list")
@pass_context
def list_products(context: Context) -> None:
    """The products, with their versions."""
    names = context.client.json("GET", f"{API}/products")["products"]
    found = {name: _versions(context.client, name) for name in names}
    if context.json:
        show_json(found)
    else:
        show_table(("PRODUCT", "VERSIONS"), list(found.items()))


def _versions(client: Client, name: str) -> list[str]:
    versions: list[str] = client.json("GET", f"{API}/products/{segment(name)}")["versions"]
    return versions


@product.command("show")
@click.argument("product")
@pass_context
def show_product(context: Context, product: str) -> None:
    """A product (NAME/VERSION) and its options."""
    path = _path(product)
    found = context.client.json("GET", path)
    options = context.client.json("GET", f"{path}/options")
    if context.json:
        show_json({**found, "options": options})
        return
    click.echo(plain(f"{found['name']} {found['version']}  {found['description']}"))
    rows = [
        (kind, name, json.dumps(value), options["descriptions"].get(name, ""))
        for kind in ("required", "optional", "advanced")
        for name, value in options[kind].items()
    ]
    show_table(("", "OPTION", "DEFAULT", "DESCRIPTION"), rows)


@product.command()
@click.argument("product")
@click.option("--description", default="", help="one line about it")
@click.option("--logo-url", default="", help="address of an image")
@pass_context
def register(context: Context, product: str, description: str, logo_url: str) -> None:
    """Registers a product (NAME/VERSION), which has no template yet."""
    name, version = parse_product(product)
    body = {"name": name, "version": version, "description": description, "logo_url": logo_url}
    context.client.call("POST", f"{API}/products", body)


@product.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@pass_context
def put(context: Context, directory: Path) -> None:
    """Stores a product from the files of DIRECTORY, whether or not it is registered.

    product.json (name, version, description, logo_url), template.json or template.yaml (Jinja2),
    options.json, orchestrator.py.
    """
    about = _about(directory)
    template, kind = _template(directory)
    path = _path(f"{about['name']}/{about['version']}")
    try:
        context.client.call("POST", f"{API}/products", about)
    except Failure as failure:
        if failure.code != CONFLICT:
            raise
        texts = {name: text for name, text in about.items() if name not in ("name", "version")}
        context.client.call("PUT", path, texts)
    if (directory / "options.json").is_file():
        content = (directory / "options.json").read_bytes()
        # Options and template have to fit together, in whatever order they change.
        _put_both(context.client, path, content, template, kind)
    else:
        context.client.call("PUT", f"{path}/template", content=template, content_type=kind)
    script = next((directory / name for name in _SCRIPTS if (directory / name).is_file()), None)
    if script is not None:
        context.client.call(
            "PUT", f"{path}/orchestrator", content=script.read_bytes(), content_type="text/x-python"
        )
    click.echo(f"{about['name']}/{about['version']}")


def _put_both(client: Client, path: str, options: bytes, template: bytes, kind: str) -> None:
    try:
        client.call("PUT", f"{path}/options", content=options)
    except Failure:
        # The template that is there may want other options than the one that is to come.
        before = client.json("GET", f"{path}/options")
        client.call("PUT", f"{path}/options", _both(options, before))
        try:
            client.call("PUT", f"{path}/template", content=template, content_type=kind)
        except Failure:
            client.call("PUT", f"{path}/options", before)
            raise
        client.call("PUT", f"{path}/options", content=options)
        return
    client.call("PUT", f"{path}/template", content=template, content_type=kind)


def _both(options: bytes, before: dict[str, Any]) -> dict[str, Any]:
    """Returns the new options, and those of the old ones that are not among them: both templates
    find theirs."""
    try:
        new = json.loads(options)
        homes = {name for section in _SECTIONS for name in new.get(section, {})}
        old = {name: value for part in _SECTIONS for name, value in before[part].items()}
        left = {name: value for name, value in old.items() if name not in homes}
        return {**new, "optional": {**new.get("optional", {}), **left}}
    except (ValueError, TypeError, AttributeError):
        raise Failure("options.json: expects an object with sections of options, in JSON") from None


def _about(directory: Path) -> dict[str, Any]:
    path = directory / "product.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", 2) from None
    except ValueError as error:
        raise Failure(f"{path} is not JSON: {error}", 2) from None
    if not isinstance(about, dict) or not {"name", "version"} <= set(about):
        raise Failure(f'{path}: expects {{"name": …, "version": …, "description": …}}', 2)
    return about


def _template(directory: Path) -> tuple[bytes, str]:
    for name, kind in _TEMPLATES.items():
        if (directory / name).is_file():
            return (directory / name).read_bytes(), kind
    raise Failure(f"{directory} has no template: {', '.join(_TEMPLATES)}", 2)


@product.command("delete")
@click.argument("product")
@pass_context
def delete_product(context: Context, product: str) -> None:
    """Deletes a product (NAME/VERSION) of which there is no cluster."""
    context.client.call("DELETE", _path(product))


def _path(product: str) -> str:
    name, version = parse_product(product)
    return f"{API}/products/{segment(name)}/{segment(version)}"
