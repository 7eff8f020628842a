"""Objects of one kind that a tenant keeps, and may show to others: who sees and who changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.dataprocessing.errors import (
    DeletionFailed,
    DuplicateEntry,
    NameExists,
    NoSuchObject,
    UpdateFailed,
)
from gateway.store import Store
from gateway.store.objects import Kind, NameTaken, Object


class Kept(Protocol):
    """What all of them have."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_public(self) -> bool: ...
    @property
    def is_protected(self) -> bool: ...
    @property
    def created_at(self) -> float: ...
    @property
    def updated_at(self) -> float | None: ...


K = TypeVar("K", bound=Kept)


class Words(msgspec.Struct, frozen=True):
    """What users are told the kind is: by its title, and as it stands in sentences about rows."""

    title: str
    row: str


class Shelf(Generic[K]):
    """Methods block for as long as the store takes."""

    def __init__(self, store: Store, kind: Kind, shape: type[K], words: Words) -> None:
        self._objects = store.objects
        self._kind = kind
        self._shape = shape
        self._words = words

    def look(self, tenant: str, object_id: str) -> K | None:
        """Returns an object that the tenant may see, None if there is none."""
        found = self._objects.look(self._kind, object_id)
        if found is None or not (found.project == tenant or found.shared):
            return None
        return self._value(found)

    def get(self, tenant: str, object_id: str) -> K:
        """Raises :class:`NoSuchObject`."""
        found = self.look(tenant, object_id)
        if found is None:
            raise NoSuchObject(id=object_id[:255])
        return found

    def find(self, tenant: str) -> Sequence[K]:
        """Returns the tenant's objects, and what others show to everybody, by id."""
        return [self._value(one) for one in self._objects.find(self._kind, tenant, shared=True)]

    def add(self, value: K) -> K:
        """Raises :class:`NameExists` if the tenant sees an object of this name."""
        try:
            self._objects.add(self._object(value), among_shared=True)
        except NameTaken:
            raise NameExists(self._words.title, value.name) from None
        return value

    def change(self, tenant: str, object_id: str, change: Callable[[K], K]) -> K:
        """Stores what ``change`` makes of an object; what it raises changes nothing.

        Raises :class:`NoSuchObject`, and :class:`DuplicateEntry` for a name that is taken.
        """
        self.get(tenant, object_id)
        try:
            stored = self._objects.change(
                self._kind, object_id, lambda old: self._object(change(self._value(old)))
            )
        except NameTaken:
            raise DuplicateEntry(self._words.row) from None
        return self._value(stored)

    def check_change(self, value: K, tenant: str, given: Mapping[str, Any]) -> None:
        """Raises :class:`UpdateFailed` for what is another tenant's, or protected.

        What is protected can be shown to others, and be unprotected together with other changes.
        """
        failed = f"{self._words.row} with id '{value.id}' could not be updated because it"
        if value.tenant != tenant:
            raise UpdateFailed(f"{failed} wasn't created in this tenant")
        if value.is_protected and given.get("is_protected") is not False and set(given) - {"is_public"}:
            raise UpdateFailed(f"{failed}'s marked as protected")

    def check_delete(self, value: K, tenant: str) -> None:
        """Raises :class:`DeletionFailed` for what is another tenant's, or protected."""
        failed = f"{self._words.row} with id '{value.id}' could not be deleted because it"
        if value.tenant != tenant:
            raise DeletionFailed(f"{failed} wasn't created in this tenant")
        if value.is_protected:
            raise DeletionFailed(f"{failed}'s marked as protected")

    def delete(self, object_id: str) -> None:
        self._objects.delete(self._kind, object_id)

    def _value(self, stored: Object) -> K:
        return msgspec.convert(stored.body, self._shape)

    def _object(self, value: K) -> Object:
        return Object(
            self._kind,
            value.id,
            value.tenant,
            value.name,
            msgspec.to_builtins(value),
            shared=value.is_public,
            created_at=value.created_at,
            updated_at=value.updated_at,
        )
