"""Products: what a user can have a cluster of. Values only; the store keeps them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TemplateType = Literal["json+jinja2", "yaml+jinja2"]


class ProductOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a product's template.

    Every one of ``required`` has to be given (its value here is an example); ``optional`` and
    ``advanced`` hold defaults; ``descriptions`` are for people.
    """

    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    advanced: dict[str, Any] = {}
    descriptions: dict[str, str] = {}


class Product(msgspec.Struct, frozen=True):
    """A product: ``template`` renders to the document of a cluster, ``orchestrator`` is the script that
    configures one. "" where nothing has been given yet. Times in seconds since the epoch."""

    name: str
    version: str
    description: str = ""
    logo_url: str = ""
    template: str = ""
    template_type: TemplateType = "json+jinja2"
    options: ProductOptions = ProductOptions()
    orchestrator: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def dn(self) -> str:
        return f"products/{self.name}/{self.version}"
