"""The products that there are: registered, changed part by part, checked before they are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from framework.model.errors import NotFound
from gateway.clusters.options import read_options
from gateway.clusters.products import (
    Product,
    ProductOptions,
    TemplateType,
    check_names,
    check_texts,
)
from gateway.clusters.rendering import Renderer
from gateway.store import Store


class Catalogue:
    """Its methods block: they use the store, and what is checked is rendered in a worker."""

    def __init__(self, store: Store, renderer: Renderer, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._renderer = renderer
        self._clock = clock

    # -- reading -----------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        return self._store.products.list_names()

    def versions(self, name: str) -> Sequence[str]:
        """Raises :class:`NotFound` if there is no product of this name."""
        found = self._store.products.list_versions(name)
        if not found:
            raise NotFound(f"there is no product {name[:255]}")
        return found

    def get(self, name: str, version: str) -> Product:
        """Raises :class:`NotFound`."""
        return self._store.products.get(name, version)

    # -- changing ----------------------------------------------------------------------------------

    def register(self, name: str, version: str, description: str = "", logo_url: str = "") -> Product:
        """Stores a product that has no template yet; raises :class:`Conflict` if there is one."""
        check_names(name, version)
        check_texts(description, logo_url)
        now = self._clock()
        product = Product(name, version, description, logo_url, created_at=now, updated_at=now)
        self._store.products.add(product)
        return product

    def set_template(self, name: str, version: str, source: str, kind: TemplateType) -> None:
        """Raises :class:`Invalid` for a template that does not render to a cluster."""
        self._change(name, version, template=source, template_type=kind)

    def set_options(self, name: str, version: str, document: Any) -> None:
        """``document``: ``{"required": {}, "optional": {}, "advanced": {}, "descriptions": {}}``."""
        self._change(name, version, options=read_options(document))

    def set_orchestrator(self, name: str, version: str, script: str) -> None:
        self.get(name, version)
        self._renderer.check_orchestrator(script)
        self._change(name, version, orchestrator=script)

    def describe(self, name: str, version: str, description: str | None, logo_url: str | None) -> None:
        """Changes what people read and see of a product; None leaves it as it is."""
        check_texts(description or "", logo_url or "")
        given = {"description": description, "logo_url": logo_url}
        self._change(name, version, **{part: text for part, text in given.items() if text is not None})

    def delete(self, name: str, version: str) -> None:
        """Raises :class:`NotFound`, and :class:`Conflict` while there is a cluster of it."""
        self._store.products.delete(name, version)

    def _change(self, name: str, version: str, **parts: Any) -> None:
        """Checks the product as it would be, then changes these parts of what is stored.

        The check takes seconds, so it is no part of the transaction; what two people change at the
        same time may therefore not fit together, which a launch would say.
        """
        product = msgspec.structs.replace(self.get(name, version), **parts)
        if "template" in parts or "options" in parts:
            known = "options" in parts or product.options != ProductOptions()
            self._renderer.check(product, has_options=known)
        with self._store.transaction():
            present = self.get(name, version)
            self._store.products.update(
                msgspec.structs.replace(present, **parts, updated_at=self._clock())
            )
