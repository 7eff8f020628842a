"""Jobs in JSON that need none of the language: read straight into plain data.

Most programs send such jobs: every value is of its type, nothing refers to anything but what is known
only when the task runs. Whatever is not as simple as that is left to the usual way, which knows what
to say about it; so this way either gives the same jobs or nothing. What it may cost is bounded by the
size of the text, which is why no worker process is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pystachio import Empty
from pystachio.basic import Boolean, EnumContainer, Float, Integer, String
from pystachio.choice import ChoiceContainer
from pystachio.composite import Structural
from pystachio.container import ListContainer, MapContainer

from framework.model.jobs import JobSpec
from gateway.jobs import schema
from gateway.jobs.checks import check_values, warnings
from gateway.jobs.conversion import job_spec
from gateway.jobs.documents import is_json, parse
from gateway.jobs.faults import Fault
from gateway.jobs.limits import Limits

# What is longer is read where it can be killed.
MOST_BYTES = 8 * 1024
_RUN_TIME = re.compile(
    r"\{\{(?:mesos\.instance|mesos\.hostname|thermos\.task_id|thermos\.ports\[[A-Za-z_][A-Za-z0-9_]*\])\}\}"
)
# The defaults of the model that refer to something: a name is that of what is named inside.
_INNER_NAMES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "Task": lambda data: data["processes"][0]["name"],
    "MesosJob": lambda data: data["task"]["name"],
}

Read = Callable[[Any], Any]


class Unusual(Exception):
    """The usual way has to decide."""


def read_plain(source: bytes, limits: Limits) -> list[JobSpec] | None:
    """Returns the jobs of a JSON body, None if they are not plain, or not right."""
    if len(source) > min(MOST_BYTES, limits.source_bytes):
        return None
    try:
        text = source.decode("utf-8")
        if not is_json(text) or text.startswith("\ufeff"):
            return None
        document = parse(text)
        jobs = document["jobs"] if set(document) == {"jobs"} else [document]
        if not jobs or len(jobs) > limits.jobs:
            return None
        return [_job(job, limits) for job in jobs]
    except (Unusual, Fault, UnicodeError, TypeError, LookupError):
        return None


def _job(document: Any, limits: Limits) -> JobSpec:
    data = _READ_JOB(document)
    # That no reference stands within another the readers have seen to.
    if not data["task"].get("processes") or any(True for _ in check_values(data, limits)):
        raise Unusual
    spec = job_spec(data, warnings(data))
    if len(spec.config.executor_data) > limits.document_bytes:
        raise Unusual
    return spec


# -- readers of the model's types ------------------------------------------------------------------


def _text(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise Unusual
    if "{{" in value and "{{" in _RUN_TIME.sub("", value):
        raise Unusual
    value.encode()  # half of a surrogate pair is a UnicodeError
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not -(2**63) < value < 2**63:
        raise Unusual
    return value


def _number(value: Any) -> float:
    if type(value) is int and -(2**63) < value < 2**63:
        return float(value)
    if type(value) is not float or not abs(value) < float("inf"):
        raise Unusual
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise Unusual
    return value


_LEAVES: Mapping[Any, Read] = {String: _text, Integer: _integer, Float: _number, Boolean: _truth}


def _reader(klass: Any) -> Read:
    """Returns what reads a JSON value as the model's ``klass``."""
    if klass in _LEAVES:
        return _LEAVES[klass]
    if issubclass(klass, EnumContainer):
        return _one_of(klass.VALUES)
    if issubclass(klass, ListContainer):
        return _list_of(_reader(klass.TYPE))
    if issubclass(klass, MapContainer):
        return _map_of(_reader(klass.VALUETYPE))
    if issubclass(klass, ChoiceContainer):
        return _choice_of([(set(c.TYPEMAP), _reader(c)) for c in klass.CHOICES])
    return _struct_of(klass)


def _one_of(values: Any) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not str or value not in values:
            raise Unusual
        return value

    return read


def _list_of(read_item: Read) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise Unusual
        return [read_item(item) for item in value]

    return read


def _map_of(read_item: Read) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise Unusual
        return {_plain_key(key): read_item(item) for key, item in value.items()}

    return read


def _plain_key(key: Any) -> str:
    if "{{" in _text(key):
        raise Unusual
    return str(key)


def _choice_of(choices: list[tuple[set[str], Read]]) -> Read:
    """The first alternative that knows all of the fields, as the model takes them."""

    def read(value: Any) -> Any:
        if type(value) is dict:
            for known, read_choice in choices:
                if known.issuperset(value):
                    return read_choice(value)
        raise Unusual

    return read


def _struct_of(klass: Any) -> Read:
    fields = [(name, _reader(signature.klazz)) for name, signature in klass.TYPEMAP.items()]
    required = {name for name, signature in klass.TYPEMAP.items() if signature.required}
    defaults = {
        name: _default(signature.default)
        for name, signature in klass.TYPEMAP.items()
        if signature.default is not Empty
    }
    inner = _INNER_NAMES.get(klass.__name__)
    known = set(klass.TYPEMAP)
    # Those whose defaults refer to something, and what they refer to.
    unknown = [name for name, default in defaults.items() if default is _UNKNOWN]

    def read(value: Any) -> Any:
        if type(value) is not dict or not known.issuperset(value) or not required.issubset(value):
            raise Unusual
        data: dict[str, Any] = {}
        for name, read_field in fields:
            if name in value:
                data[name] = read_field(value[name])
            elif name in defaults:
                data[name] = defaults[name]
        for name in unknown:
            if data[name] is _UNKNOWN:
                if inner is None:
                    raise Unusual
                data[name] = inner(data)
        return data

    return read


_UNKNOWN = object()


def _default(value: Any) -> Any:
    """Returns a field's default as plain data, _UNKNOWN if it refers to something."""
    if isinstance(value, Structural):
        fields = value._schema_data.items()
        return _known({name: _default(field) for name, field in fields if field is not Empty})
    if isinstance(value, MapContainer):
        return _known({key.get(): _default(item) for key, item in value._map})
    if isinstance(value, ListContainer):
        items = [_default(item) for item in value._values]
        return _UNKNOWN if any(item is _UNKNOWN for item in items) else items
    raw = value.get()
    if isinstance(raw, str) and "{{" in raw:
        return _UNKNOWN
    return type(value).coerce(raw)


def _known(data: dict[str, Any]) -> Any:
    return _UNKNOWN if any(value is _UNKNOWN for value in data.values()) else data


_READ_JOB = _reader(schema.MesosJob)
