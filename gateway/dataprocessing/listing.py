"""Pages of lists: filtered, sorted, from behind a marker on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from gateway.dataprocessing.errors import BadPage, NoSuchObject

T = TypeVar("T")
MOST = 10_000


class Query(msgspec.Struct, frozen=True):
    """What a caller wants of a list. ``sort_by`` begins with ``-`` for the other direction."""

    limit: int | None = None
    marker: str | None = None
    sort_by: str = "id"
    filters: Mapping[str, str] = {}


class Page(msgspec.Struct, Generic[T], frozen=True):
    """``previous`` and ``following`` are markers; ``marked``: whether they are to be shown."""

    items: Sequence[T]
    previous: str | None = None
    following: str | None = None
    marked: bool = False


class Columns(msgspec.Struct, frozen=True):
    """What a kind of object can be sorted, and what it can be filtered by."""

    sortable: frozenset[str]
    filterable: frozenset[str]


def read_query(parameters: Mapping[str, str], columns: Columns) -> Query:
    """Reads a list's query parameters, of which all others are filters; raises :class:`BadPage`."""
    given = dict(parameters)
    limit = given.pop("limit", None)
    marker = given.pop("marker", None)
    sort_by = given.pop("sort_by", "id")
    number: int | None = None
    if limit is not None:
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) > 0):
            raise BadPage("'limit' must be positive integer")
        number = int(limit)
    if sort_by.removeprefix("-") not in columns.sortable:
        raise BadPage(f"Unknown field for sorting {sort_by.removeprefix('-')[:100]}")
    return Query(number, marker, sort_by, given)


def page(items: Sequence[T], query: Query, field: Callable[[T, str], Any]) -> Page[T]:
    """Returns the page that ``query`` asks for; ``field`` gives what an item has of a name.

    ``items`` come by their ids, which is how most want them: nothing is done with each of them then.
    Raises :class:`NoSuchObject` for a marker that is not in the list.
    """
    wanted = items
    if query.filters:
        wanted = [item for item in items if _matches(item, query.filters, field)]
    name, backwards = query.sort_by.removeprefix("-"), query.sort_by.startswith("-")
    if query.sort_by != "id":
        # By the id as well, so that equal ones stay where they are from page to page.
        wanted = sorted(
            wanted, key=lambda item: (_order(field(item, name)), field(item, "id")), reverse=backwards
        )
    start = 0
    if query.marker is not None:
        ids = [field(item, "id") for item in wanted]
        if query.marker not in ids:
            raise NoSuchObject(id=query.marker[:255])
        start = ids.index(query.marker) + 1
    limit = min(query.limit or MOST, MOST)
    shown = wanted[start : start + limit]
    following = str(field(shown[-1], "id")) if shown and start + limit < len(wanted) else None
    before = start - limit
    previous = str(field(wanted[before - 1], "id")) if before > 0 else None
    marked = query.marker is not None or following is not None or previous is not None
    return Page(shown, previous, following, marked)


def _matches(item: T, filters: Mapping[str, str], field: Callable[[T, str], Any]) -> bool:
    return all(_is(field(item, name), value) for name, value in filters.items())


def _is(value: Any, wanted: str) -> bool:
    # Python's clients write True, others true.
    return str(value) == wanted or (isinstance(value, bool) and str(value).lower() == wanted.lower())


def _order(value: Any) -> tuple[bool, str]:
    return value is not None, "" if value is None else str(value)
