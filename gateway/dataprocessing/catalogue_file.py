"""The operator's catalogue as it is written: in the file of ``--catalogue``, in bodies of requests."""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from framework.model.errors import Invalid
from gateway.clusters.definitions import Definition, network_of
from gateway.clusters.networks import Network, check_network
from gateway.dataprocessing.catalogue import Flavor, Image
from gateway.dataprocessing.formats import TAG, USER_NAME, is_flavor, is_uuid

# Ids that follow from names: the same on every start, and on every replica.
_NAMESPACE = uuid.UUID("5f1d6c0e-6b0f-4f43-9a52-0f5f8a3d7a11")
_MOST_TEXT = 255
_MOST_CPUS, _MOST_MB, _MOST_GB = 4096, 64 * 1024 * 1024, 1024 * 1024
DEFAULT_IMAGE = "default"

# As clouds usually have them, but no larger than what a machine for trying things out can give.
DEFAULT_FLAVORS: tuple[Flavor, ...] = (
    Flavor("1", "m1.tiny", 0.1, 64, 1),
    Flavor("2", "m1.small", 0.25, 256, 1),
    Flavor("3", "m1.medium", 0.5, 1024, 2),
    Flavor("4", "m1.large", 1.0, 2048, 4),
    Flavor("5", "m1.xlarge", 2.0, 4096, 8),
)


class FlavorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``vcpus`` may be a fraction; ``ram`` in MiB, ``disk`` in GiB. ``id`` "": it stands elsewhere."""

    name: str
    vcpus: float
    ram: int
    disk: int = 0
    id: str = ""


class ImageEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` "": it follows from the name. ``username`` registers the image for everybody, with these
    ``tags``. ``min_ram`` in MiB, ``min_disk`` in GiB, ``size`` in bytes."""

    name: str
    reference: str = ""
    id: str = ""
    username: str | None = None
    tags: tuple[str, ...] = ()
    size: int = 0
    min_disk: int = 0
    min_ram: int = 0
    keep_entrypoint: bool = False
    transport: Literal["exec", "ssh"] = "exec"


class Offers(msgspec.Struct, frozen=True):
    """What a catalogue file holds."""

    flavors: tuple[Flavor, ...] = DEFAULT_FLAVORS
    images: tuple[Image, ...] = ()
    networks: tuple[Network, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flavors: tuple[FlavorEntry, ...] | None = None
    images: tuple[ImageEntry, ...] = ()
    networks: tuple[Definition, ...] = ()


def read_catalogue(path: Path) -> Offers:
    """Returns what the file of ``--catalogue`` offers; raises :class:`Invalid` saying what is wrong.

    TOML, with a table ``[[flavors]]``, ``[[images]]`` or ``[[networks]]`` for each. Without flavors
    there are the usual ones.
    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
        flavors = DEFAULT_FLAVORS
        if found.flavors is not None:
            flavors = tuple(flavor_of(entry, entry.id) for entry in found.flavors)
        images = tuple(image_of(entry, entry.id) for entry in found.images)
        networks = tuple(check_network(network_of(entry)) for entry in found.networks)
        check_unique("flavor", flavors)
        check_unique("image", images)
        _check_once("network", "name", (network.name for network in networks))
    except (OSError, ValueError, RecursionError, msgspec.ValidationError, Invalid) as error:
        raise Invalid(f"--catalogue {path}: {error}") from None
    return Offers(flavors, images, networks)


def default_image(reference: str | None) -> Image:
    """Returns the image of nodes whose agents need none: that of ``--default-image``, or processes."""
    return Image(id=id_of("image", DEFAULT_IMAGE), name=DEFAULT_IMAGE, reference=reference or "")


def id_of(kind: str, name: str) -> str:
    """Returns the UUID of what is known by its name."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{name}"))


def flavor_of(entry: FlavorEntry, flavor_id: str) -> Flavor:
    """Returns the flavor that an entry describes; raises :class:`Invalid`."""
    if not is_flavor(flavor_id):
        raise Invalid(f"a flavor's id is a number or a UUID, not {flavor_id[:60]!r}")
    what = f"flavor {flavor_id}"
    _check_name(what, entry.name)
    _check_between(what, "vcpus", entry.vcpus, 0.01, _MOST_CPUS)
    _check_between(what, "ram", entry.ram, 1, _MOST_MB)
    _check_between(what, "disk", entry.disk, 0, _MOST_GB)
    return Flavor(flavor_id, entry.name, entry.vcpus, entry.ram, entry.disk)


def image_of(entry: ImageEntry, image_id: str) -> Image:
    """Returns the image that an entry describes; raises :class:`Invalid`."""
    if image_id and not is_uuid(image_id):
        raise Invalid(f"an image's id is a UUID, not {image_id[:60]!r}")
    what = f"image {image_id or entry.name[:60]!r}"
    _check_name(what, entry.name)
    if len(entry.reference) > 1000 or any(c.isspace() or not c.isprintable() for c in entry.reference):
        raise Invalid(f"{what}: reference is what Docker calls an image, such as apache/spark:3.5.1")
    for tag in entry.tags:
        if not TAG.fullmatch(tag) or len(tag) > _MOST_TEXT:
            raise Invalid(f"{what}: {tag[:60]!r} is not a tag; write letters, digits, . _ and -")
    if entry.username is not None:
        if not USER_NAME.fullmatch(entry.username):
            raise Invalid(
                f"{what}: username {entry.username[:60]!r} is no name of a user in it; write letters, "
                "digits, . _ and -"
            )
    elif entry.tags:
        raise Invalid(f"{what}: tags are those of a registered image, which has a username, too")
    _check_between(what, "min_ram", entry.min_ram, 0, _MOST_MB)
    _check_between(what, "min_disk", entry.min_disk, 0, _MOST_GB)
    _check_between(what, "size", entry.size, 0, 2**62)
    return Image(
        id=str(uuid.UUID(image_id)) if image_id else id_of("image", entry.name),
        name=entry.name,
        reference=entry.reference,
        username=entry.username,
        tags=tuple(dict.fromkeys(entry.tags)),
        size=entry.size,
        min_disk=entry.min_disk,
        min_ram=entry.min_ram,
        keep_entrypoint=entry.keep_entrypoint,
        transport=entry.transport,
    )


O = TypeVar("O", Flavor, Image)  # noqa: E741 - offers


def check_unique(what: str, offers: Iterable[O]) -> None:
    """Raises :class:`Invalid` for two of the same id or name: clients look for both."""
    found = list(offers)
    _check_once(what, "id", (one.id for one in found))
    _check_once(what, "name", (one.name for one in found))


def _check_once(what: str, key: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Invalid(f"there are two {what}s with the {key} {value!r}")
        seen.add(value)


def _check_name(what: str, name: str) -> None:
    if not name.strip() or len(name) > _MOST_TEXT or not name.isprintable():
        raise Invalid(f"{what}: a name has 1 to {_MOST_TEXT} characters that can be printed")


def _check_between(what: str, key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # and so is no "not a number"
        raise Invalid(f"{what}: {key} is between {low:g} and {high}, not {value}")
