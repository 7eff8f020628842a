"""Job configurations in JSON: one job, or ``{"jobs": [job, …]}``."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from pystachio.composite import Structural

from gateway.jobs import schema
from gateway.jobs.coercion import Notes, build, describe
from gateway.jobs.faults import Fault, Position, shown, suggestion

_LONGEST_NUMBER = 40
_EXPLANATIONS = {
    "Extra data": "something follows after the end of the JSON document",
    "Expecting value": "a value is missing here, or is not JSON",
}


def is_json(text: str) -> bool:
    """Whether a body is meant as JSON rather than as the job language."""
    return text.lstrip().startswith(("{", "["))


def read_document(text: str, notes: Notes) -> list[Structural]:
    """Returns the jobs of a JSON document; raises :class:`Fault` with all that is wrong with it."""
    document = parse(text)
    if not isinstance(document, dict):
        raise Fault('a JSON body is an object: one job, or {"jobs": [job, …]}')
    if "jobs" not in document:
        return [build(schema.MesosJob, document, notes)]
    for name in document:
        if name != "jobs":
            raise Fault(
                f"beside 'jobs' there is an unknown field {shown(name)}" + suggestion(name, ["jobs"])
            )
    if not isinstance(document["jobs"], list):
        raise Fault(f"jobs: expects a list of jobs, not {describe(document['jobs'])}")
    jobs = []
    faults: list[Fault] = []
    for index, job in enumerate(document["jobs"]):
        path = f"jobs[{index}]"
        notes.place = path
        try:
            if not isinstance(job, dict):
                raise Fault(f"{path}: expects a job, not {describe(job)}")
            jobs.append(build(schema.MesosJob, job, notes, path=path))
        except Fault as fault:
            faults.append(fault)
    if faults:
        faults[0].more.extend(faults[1:])
        raise faults[0]
    return jobs


def parse(text: str) -> Any:
    """Returns what a text of JSON says; raises :class:`Fault`, with the place, for what it is not."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_decimal,
        )
    except json.JSONDecodeError as error:
        said = _EXPLANATIONS.get(error.msg, error.msg[:1].lower() + error.msg[1:])
        raise Fault(f"this is not valid JSON: {said}", Position(error.lineno, error.colno)) from None
    except RecursionError:
        raise Fault("the JSON document is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(first for first, second in pairwise(names) if first == second)
        raise Fault(f"the key {shown(twice)} stands twice in one object")
    return result


def _constant(name: str) -> Any:
    raise Fault(f"{name} is not JSON; write a number")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise Fault(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _decimal(digits: str) -> float:
    if len(digits) > 10 * _LONGEST_NUMBER:
        raise Fault(f"a number of {len(digits)} digits is too long")
    return float(digits)
