"""The registry of images: which images data clusters may be made of, as whom, and what is in them.

The operator's catalogue says which images there are, and may register some for everybody; every tenant
registers others, or the same ones otherwise, for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from gateway.dataprocessing.catalogue import Catalogue, Image, image_of
from gateway.dataprocessing.errors import ImageNotRegistered, NoSuchObject
from gateway.store import Store
from gateway.store.objects import Object


class Registration(msgspec.Struct, frozen=True):
    """What a tenant has said of an image; ``username`` None: that it is not registered any more."""

    username: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()


class RegisteredImage(msgspec.Struct, frozen=True):
    """``username``: who commands are run as in a node. ``description`` None: none was given."""

    image: Image
    username: str
    description: str | None = None
    tags: tuple[str, ...] = ()
    updated_at: float = 0.0


class ImageRegistry:
    """Methods block for as long as the store takes. ``clock`` gives seconds since the epoch."""

    def __init__(self, store: Store, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock

    def look(self, tenant: str, image_id: str) -> RegisteredImage | None:
        """Returns an image, None if it is not there or not registered."""
        image = image_of(self._catalogue, image_id)
        if image is None:
            return None
        return _registered(image, self._store.objects.look("image", _key(tenant, image_id)))

    def get(self, tenant: str, image_id: str) -> RegisteredImage:
        """Raises :class:`NoSuchObject` and :class:`ImageNotRegistered`."""
        self._existing(image_id)
        found = self.look(tenant, image_id)
        if found is None:
            raise ImageNotRegistered(image_id)
        return found

    def find(
        self, tenant: str, name: str | None = None, tags: Iterable[str] = ()
    ) -> Sequence[RegisteredImage]:
        """Returns the images whose name holds ``name``, and that have all of ``tags``, by name."""
        wanted = frozenset(tags)
        said = {one.name: one for one in self._store.objects.find("image", tenant)}
        images = sorted(self._catalogue.images(), key=lambda image: (image.name, image.id))
        found = (_registered(image, said.get(image.id)) for image in images)
        return [
            one
            for one in found
            if one is not None and wanted <= set(one.tags) and (name is None or name in one.image.name)
        ]

    def register(
        self, tenant: str, image_id: str, username: str, description: str | None = None
    ) -> RegisteredImage:
        """Registers an image, or changes what has been said of it; its tags stay."""
        self._existing(image_id)
        before = self.look(tenant, image_id)
        tags = () if before is None else before.tags
        self._say(tenant, image_id, Registration(username, description, tags))
        return self.get(tenant, image_id)

    def unregister(self, tenant: str, image_id: str) -> None:
        """Its tags go with it. Raises what :meth:`get` raises."""
        self.get(tenant, image_id)
        self._say(tenant, image_id, Registration())

    def tag(self, tenant: str, image_id: str, tags: Iterable[str]) -> RegisteredImage:
        before = self.get(tenant, image_id)
        self._retag(before, tenant, dict.fromkeys((*before.tags, *tags)))
        return self.get(tenant, image_id)

    def untag(self, tenant: str, image_id: str, tags: Iterable[str]) -> RegisteredImage:
        before = self.get(tenant, image_id)
        gone = frozenset(tags)
        self._retag(before, tenant, (tag for tag in before.tags if tag not in gone))
        return self.get(tenant, image_id)

    def _existing(self, image_id: str) -> Image:
        image = image_of(self._catalogue, image_id)
        if image is None:
            raise NoSuchObject(id=image_id[:255])
        return image

    def _retag(self, image: RegisteredImage, tenant: str, tags: Iterable[str]) -> None:
        said = Registration(image.username, image.description, tuple(tags))
        self._say(tenant, image.image.id, said)

    def _say(self, tenant: str, image_id: str, said: Registration) -> None:
        now = self._clock()
        body = msgspec.to_builtins(said)
        key = _key(tenant, image_id)
        objects = self._store.objects
        with self._store.transaction():
            if objects.look("image", key) is None:
                objects.add(Object("image", key, tenant, image_id, body, created_at=now, updated_at=now))
            else:
                objects.change(
                    "image", key, lambda old: msgspec.structs.replace(old, body=body, updated_at=now)
                )


def _key(tenant: str, image_id: str) -> str:
    return f"{tenant}/{image_id}"


def _registered(image: Image, said: Object | None) -> RegisteredImage | None:
    if said is None:
        if image.username is None:
            return None
        return RegisteredImage(image, image.username, None, image.tags, image.updated_at)
    own = msgspec.convert(said.body, Registration)
    if own.username is None:
        return None
    return RegisteredImage(
        image, own.username, own.description, own.tags, said.updated_at or image.updated_at
    )
