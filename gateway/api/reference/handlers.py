"""/openapi.json, and /docs for people."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable

from jinja2 import Environment, PackageLoader, select_autoescape

from gateway.api.alpha import bodies
from gateway.api.http import JSON, Answer, Call, Route, json_text
from gateway.api.reference.document import openapi


def routes(described: Iterable[Route]) -> tuple[Route, ...]:
    """Returns the routes of the description of ``described``, and of themselves."""
    mine: list[Route] = []
    table = [*described]

    # The table is complete, and the same for ever, once the server answers.
    document = functools.cache(lambda: json_text(openapi([*table, *mine])))
    shown = functools.cache(lambda: page([*table, *mine]))

    async def read_openapi(call: Call) -> Answer:
        return Answer(document(), content_type=JSON)

    async def read_docs(call: Call) -> Answer:
        text, policy = shown()
        headers = (("Content-Security-Policy", policy),)
        return Answer(text, content_type="text/html; charset=UTF-8", headers=headers)

    mine += [
        Route(
            "GET",
            "/openapi.json",
            read_openapi,
            "This API as an OpenAPI 3.1 document",
            bodies.failed,
            kind="open",
            local=True,
            answers=((200, "OpenApi"),),
        ),
        Route(
            "GET",
            "/docs",
            read_docs,
            "This API as a page",
            bodies.failed,
            kind="open",
            local=True,
            answers=((200, "text/html"),),
        ),
    ]
    return tuple(mine)


def page(described: Iterable[Route]) -> tuple[str, str]:
    """Returns the page, and the Content-Security-Policy that lets it have its own style and no more."""
    environment = Environment(
        loader=PackageLoader("gateway.api.reference", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("page.css").render()
    text = environment.get_template("page.html").render(document=openapi(described), style=style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return text, f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
