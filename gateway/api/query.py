"""Query parameters as values, or a sentence that says what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from framework.model.errors import Invalid

# Aurora's own limit is 4,000 instances; a shard number beyond this is a typing error.
MAX_SHARD = 99_999
MAX_SHARDS = 10_000
_NUMBER = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
# {{docker.image[library/python][2.7]}} is one that Aurora's own examples leave unbound.
_BINDING = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]/-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUTH = {"true": True, "1": True, "yes": True, "": True, "false": False, "0": False, "no": False}


class UnknownParameter(Invalid):
    """The resource does not know a parameter of this name."""

    code = "unknown_parameter"


class Query:
    """The parameters of one request, decoded and checked against those that its route knows."""

    def __init__(self, values: Mapping[str, Iterable[str]]) -> None:
        self._values = {name: tuple(given) for name, given in values.items()}

    @classmethod
    def read(cls, raw: Mapping[str, list[bytes]], known: tuple[str, ...]) -> Query:
        """Decodes ``raw``; raises :class:`Invalid` for an unknown name or undecodable text."""
        for name in raw:
            if name not in known:
                raise UnknownParameter(_unknown(name, known))
        return cls({name: [_decode(name, value) for value in given] for name, given in raw.items()})

    def all(self, name: str) -> tuple[str, ...]:
        return self._values.get(name, ())

    def one(self, name: str) -> str | None:
        """Returns the parameter's value, None if it is absent; raises if it is given twice."""
        given = self.all(name)
        if len(given) > 1:
            raise Invalid(f"the parameter {name} is given {len(given)} times; once is right")
        return given[0].strip() if given else None

    def flag(self, name: str) -> bool:
        """Returns the truth of ``name=true|false`` (the bare name is true)."""
        value = self.one(name)
        if value is None:
            return False
        if value.lower() not in _TRUTH:
            raise Invalid(f"{name}={_shown(value)} is neither true nor false")
        return _TRUTH[value.lower()]

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Returns the number ``name``, which must lie between ``low`` and ``high``."""
        value = self.one(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,20}", value) or not low <= int(value) <= high:
            raise Invalid(f"{name}={_shown(value)} is not an integer between {low} and {high}")
        return int(value)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Returns the value of ``name``, the first of ``choices`` if it is absent."""
        value = self.one(name)
        if value is None:
            return choices[0]
        if value not in choices:
            raise Invalid(f"{name}={_shown(value)} is not one of {', '.join(choices)}")
        return value

    def shards(self) -> tuple[int, ...] | None:
        """Returns the instances that ``shards`` names, None (all of them) if it is absent."""
        return parse_shards(self.all("shards"))

    def changed(self, **values: str) -> str:
        """Returns the query as text, with ``values`` for those of their names."""
        kept = {name: given for name, given in self._values.items() if name not in values}
        return urlencode({**kept, **values}, doseq=True)

    def bindings(self) -> dict[str, str]:
        """Returns the pairs of ``bind=NAME=VALUE``; the last of two with the same name counts."""
        pairs: dict[str, str] = {}
        for given in self.all("bind"):
            name, equals, value = given.partition("=")
            if not equals or not _BINDING.fullmatch(name.strip()):
                raise Invalid(
                    f"bind={_shown(given)} is not NAME=VALUE; a name is such as x, profile.cpu or "
                    "docker.image[a][b]"
                )
            pairs[name.strip()] = value
        return pairs


def parse_shards(given: Iterable[str]) -> tuple[int, ...] | None:
    """Returns the instance numbers of ``1,3-5`` forms, sorted, each once; None for no form at all.

    Several forms merge. Raises :class:`Invalid` for a blank form or part, for what is not a number,
    for a range that runs down, and beyond MAX_SHARD or MAX_SHARDS: an instruction that is not
    understood must never mean "all instances".
    """
    forms = tuple(given)
    if not forms:
        return None
    numbers: set[int] = set()
    for form in forms:
        for part in form.split(","):
            numbers.update(_shard_range(part.strip(), form))
            if len(numbers) > MAX_SHARDS:
                raise Invalid(f"shards names more than {MAX_SHARDS} instances")
    return tuple(sorted(numbers))


def _shard_range(part: str, form: str) -> range:
    if match := _RANGE.fullmatch(part):
        first, last = int(match.group(1)), int(match.group(2))
    elif _NUMBER.fullmatch(part):
        first = last = int(part)
    else:
        what = f"{_shown(part)} is not a number or a range" if part else "a number is missing"
        raise Invalid(f"shards={_shown(form)}: {what}; write shards=1,3-5")
    if last < first:
        raise Invalid(f"shards={_shown(form)}: the range {part} runs down; write {last}-{first}")
    if last > MAX_SHARD:
        raise Invalid(f"shards={_shown(form)}: {last} is beyond the highest instance {MAX_SHARD}")
    if last - first >= MAX_SHARDS:
        raise Invalid(f"shards={_shown(form)}: more than {MAX_SHARDS} instances")
    return range(first, last + 1)


def _decode(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Invalid(f"the parameter {_shown(name)} is not UTF-8") from None
    if name != "bind" and _CONTROL.search(text):
        raise Invalid(f"the parameter {_shown(name)} holds a control character")
    if "\0" in text:
        raise Invalid(f"the parameter {_shown(name)} holds a NUL character")
    return text


def _unknown(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return f"the parameter {_shown(name)} is not known here: this resource takes none"
    near = difflib.get_close_matches(name[:60], known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"the parameter {_shown(name)} is not known here; {hint}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
