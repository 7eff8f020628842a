"""The catalogue of a running gateway: the operator's file, and what has been changed since.

What is put at run time is stored, and stands before an entry of the same id in the file. What is
withdrawn stays withdrawn, also if the file has it: an entry that says so takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from framework.model.errors import Conflict, Invalid, NotFound
from gateway.dataprocessing.catalogue import CloudNetwork, Flavor, Image, Keypair
from gateway.dataprocessing.catalogue_file import Offers, check_unique, id_of
from gateway.dataprocessing.keypairs import Keypairs
from gateway.store import Store
from gateway.store.objects import Kind, Object

# The network that every agent has; one of the gateway's own of this name takes its place.
DEFAULT_NETWORK = "default"
O = TypeVar("O", Flavor, Image)  # noqa: E741 - offers


class StoredCatalogue:
    """Implements :class:`gateway.dataprocessing.catalogue.Catalogue`. Methods block.

    ``usual``: the image there is always, unless the file or the operator has another of its id or its
    name. ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self, store: Store, offers: Offers, usual: Image, keypairs: Keypairs, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._keypairs = keypairs
        self._clock = clock
        taken = {name for image in offers.images for name in (image.id, image.name)}
        images = offers.images if taken & {usual.id, usual.name} else (usual, *offers.images)
        self._flavors, self._images = offers.flavors, images

    def flavors(self) -> Sequence[Flavor]:
        return self._offered("flavor", Flavor, self._flavors)

    def images(self) -> Sequence[Image]:
        return self._offered("offered-image", Image, self._images)

    def networks(self) -> Sequence[CloudNetwork]:
        found = [
            CloudNetwork(id_of("network", one.name), one.name, subnet=one.subnet)
            for one in self._store.networks.list()
        ]
        if all(one.name != DEFAULT_NETWORK for one in found):
            usual = CloudNetwork(id_of("network", DEFAULT_NETWORK), DEFAULT_NETWORK, attached=False)
            found.insert(0, usual)
        return found

    def keypairs(self, tenant: str) -> Sequence[Keypair]:
        return self._keypairs.find(tenant)

    # -- what the operator changes ------------------------------------------------------------------

    def put_flavor(self, flavor: Flavor) -> None:
        """Offers a flavor, or changes it; raises :class:`Conflict` for a name that another one has."""
        with self._store.transaction():
            self._check("flavor", flavor, self.flavors())
            self._say("flavor", flavor.id, flavor)

    def put_image(self, image: Image) -> Image:
        """Offers an image, or changes it; returns it with its times. Raises as :meth:`put_flavor`."""
        now = self._clock()
        with self._store.transaction():
            images = self.images()
            self._check("image", image, images)
            before = next((one for one in images if one.id == image.id), None)
            created = now if before is None else before.created_at
            image = msgspec.structs.replace(image, created_at=created, updated_at=now)
            self._say("offered-image", image.id, image)
        return image

    def withdraw_flavor(self, flavor_id: str) -> None:
        """Raises :class:`NotFound`. Clusters keep what they have of it."""
        self._withdraw("flavor", flavor_id, self.flavors)

    def withdraw_image(self, image_id: str) -> None:
        """Raises :class:`NotFound`."""
        self._withdraw("offered-image", image_id, self.images)

    def _withdraw(self, kind: Kind, one_id: str, offered: Callable[[], Sequence[O]]) -> None:
        with self._store.transaction():
            if all(one.id != one_id for one in offered()):
                what = kind.removeprefix("offered-")
                raise NotFound(f"there is no {what} with the id {one_id[:255]!r}")
            self._say(kind, one_id, None)

    def _offered(self, kind: Kind, shape: type[O], base: Sequence[O]) -> list[O]:
        said = {one.id: one for one in self._store.objects.find(kind)}
        found = [_read(said.pop(one.id), shape) if one.id in said else one for one in base]
        # Behind those of the file, in the order in which they came.
        later = sorted(said.values(), key=lambda one: (one.created_at, one.id))
        found += [_read(one, shape) for one in later]
        return [one for one in found if one is not None]

    def _check(self, what: str, new: O, offered: Sequence[O]) -> None:
        after: list[O] = [one for one in offered if one.id != new.id]
        after.append(new)
        try:
            check_unique(what, after)
        except Invalid as error:
            raise Conflict(str(error)) from None

    def _say(self, kind: Kind, one_id: str, offer: Flavor | Image | None) -> None:
        """``offer`` None: it is withdrawn."""
        now = self._clock()
        body = {"offer": None if offer is None else msgspec.to_builtins(offer)}
        objects = self._store.objects
        if objects.look(kind, one_id) is None:
            # By its id: a name may go from one that is withdrawn to another.
            objects.add(Object(kind, one_id, "", one_id, body, created_at=now))
        else:
            objects.change(
                kind, one_id, lambda old: msgspec.structs.replace(old, body=body, updated_at=now)
            )


def _read(stored: Object, shape: type[O]) -> O | None:
    offer = stored.body["offer"]
    return None if offer is None else msgspec.convert(offer, shape)
