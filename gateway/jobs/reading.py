"""A request's body -> the jobs that it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from pystachio.base import Object
from pystachio.composite import Structural

from framework.model.errors import Invalid
from framework.model.jobs import JobKey, JobSpec
from gateway.jobs import schema
from gateway.jobs.checks import check_job, warnings
from gateway.jobs.coercion import Notes, coerce, describe
from gateway.jobs.conversion import job_spec
from gateway.jobs.documents import is_json, read_document
from gateway.jobs.expressions import check_address
from gateway.jobs.faults import Fault, Position, invalid, shown
from gateway.jobs.interpreter import Interpreter
from gateway.jobs.limits import Budget, Limits, spending
from gateway.jobs.rendering import Rendering, is_run_time, render
from gateway.jobs.source import Source, decode
from gateway.jobs.weights import weigh

EXAMPLE = (
    "jobs = [Service(cluster = 'devcluster', role = 'www-data', environment = 'prod', name = 'hello', "
    "task = SequentialTask(processes = [Process(name = 'hello', cmdline = 'echo hello; sleep 60')], "
    "resources = Resources(cpu = 1, ram = 128*MB, disk = 128*MB)))]"
)
# Names of earlier releases that stand for a job's own fields, as Aurora's client rewrites them.
_STANDARD = {"mesos.role": "{{role}}", "mesos.cluster": "{{cluster}}", "thermos.user": "{{role}}"}


class Refused(msgspec.Struct, frozen=True):
    """A job of a configuration that cannot be used: its key as far as it is known, and why."""

    key: str
    messages: tuple[str, ...]


class JobList(list[JobSpec]):
    """The jobs of a configuration that can be used; ``refused`` are the others, if any.

    A configuration is often shared by jobs of which each needs other bindings: one that is not asked
    for may stay unbound.
    """

    refused: tuple[Refused, ...] = ()


def read_jobs(
    source: bytes,
    *,
    user: str,
    bindings: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> JobList:
    """Returns the jobs in ``source``, a ``.aurora`` text or a JSON document, in their order.

    ``user`` is whom the configuration learns to be speaking for (``getpass.getuser()``); ``bindings``
    fill references in (``{"tag": "v1"}`` for ``{{tag}}``). Raises :class:`TooLarge` above ``limits``,
    and :class:`Invalid`, with a message for each problem, if no job can be used.
    """
    limits = limits or Limits()
    text = decode(source, limits)
    if not text.strip():
        raise Invalid(f"the body is empty; send a job configuration, for example: {EXAMPLE}")
    budget = Budget(limits)
    try:
        with spending(budget):
            return _read(text, user, dict(bindings or {}), budget)
    except Fault as fault:
        raise invalid(fault.messages()) from None
    except RecursionError:
        raise Invalid("the configuration is nested too deeply to be read") from None
    except MemoryError:
        raise Invalid("the configuration needs too much memory to be read") from None


def _read(text: str, user: str, bindings: dict[str, str], budget: Budget) -> JobList:
    scope = _scope(bindings)
    notes = Notes()
    find: Callable[[str], Position | None]
    if is_json(text):
        jobs, origin, find = read_document(text, notes), _nowhere, _nowhere
    else:
        source = Source(text)
        interpreter = Interpreter(source, budget, notes, user)
        jobs = _jobs_of(interpreter.run(), notes)
        find = source.find

        def origin(value: Object) -> Position | None:
            known = interpreter.origins.get(id(value))
            return source.position(known[1]) if known and known[0] is value else None

    if not jobs:
        raise Fault(f"the configuration describes no job; write, for example: {EXAMPLE}")
    if len(jobs) > budget.limits.jobs:
        raise Fault(
            f"the configuration describes {len(jobs)} jobs; at most {budget.limits.jobs} are read"
        )
    if sum(map(weigh, jobs)) > budget.limits.nodes:
        raise Fault(f"the jobs have more than {budget.limits.nodes} values together; make them smaller")
    return _convert_all(jobs, scope, notes, origin, find, budget.limits)


def _nowhere(value: Any) -> Position | None:
    return None


def _scope(bindings: Mapping[str, str]) -> dict[str, str]:
    for name, value in bindings.items():
        try:
            check_address(name)
        except Fault as fault:
            raise Fault(f"bind: {fault.text}") from None
        if not isinstance(value, str) or "\0" in value:
            raise Fault(f"bind: the value of {shown(name)} is not a text")
    return dict(bindings)


def _jobs_of(names: Mapping[str, Any], notes: Notes) -> list[Structural]:
    if "jobs" not in names:
        made = [name for name, value in names.items() if isinstance(value, schema.MesosJob)]
        example = f"jobs = [{', '.join(made[:5])}]" if made else EXAMPLE
        raise Fault(f"the configuration does not set 'jobs'; end it with, for example: {example}")
    jobs = names["jobs"]
    if not isinstance(jobs, list | tuple):
        raise Fault(f"'jobs' is a list of jobs, not {describe(jobs)}; write jobs = [ … ]")
    return [coerce(schema.MesosJob, job, notes, f"jobs[{i}]") for i, job in enumerate(jobs)]


def _convert_all(
    jobs: Sequence[Structural],
    scope: dict[str, str],
    notes: Notes,
    origin: Callable[[Object], Position | None],
    find: Callable[[str], Position | None],
    limits: Limits,
) -> JobList:
    specs = JobList()
    refused = []
    for job in jobs:
        bound = (job.bind(scope) if scope else job).bind(_STANDARD)
        rendering = render(bound, job, origin)
        faults = list(_problems(rendering, find, limits))
        if not faults:
            spec = job_spec(rendering.data, [*notes.warnings, *warnings(rendering.data)])
            if len(spec.config.executor_data) <= limits.document_bytes:
                specs.append(spec)
                continue
            faults = [Fault(f"the job has more than {limits.document_bytes} characters")]
        place = origin(job)
        for fault in faults:
            if place is not None:
                fault.at(place)
        refused.append(Refused(_key_text(rendering.data), _labelled(faults, rendering, len(jobs))))
    specs.refused = tuple(refused)
    if not specs:
        raise invalid(message for job in refused for message in job.messages)
    return specs


def _problems(
    rendering: Rendering, find: Callable[[str], Position | None], limits: Limits
) -> Iterable[Fault]:
    unbound = sorted(name for name in rendering.open if not is_run_time(name))
    faults = rendering.faults
    task = rendering.data.get("task")
    if task is not None and not task.get("processes"):
        faults = [Fault("task.processes is required: a Task needs at least one Process"), *faults]
    if faults:
        # The names of tasks and jobs are made of their parts' names: those will be there with the parts.
        unbound = [name for name in unbound if not name.startswith(("task.", "processes["))]
    if faults or unbound:
        yield from faults
        yield from _unbound(unbound, rendering, find)
    else:
        yield from check_job(rendering.data, limits)


def _unbound(
    names: list[str], rendering: Rendering, find: Callable[[str], Position | None]
) -> Iterable[Fault]:
    if not names:
        return
    query = "&".join(f"bind={name}=VALUE" for name in names[:5])
    yield Fault(
        f"unbound names: {', '.join(f'{{{{{name}}}}}' for name in names[:20])}; "
        f"give each with the request: ?{query}"
        + (" (or write the image's name: registries are not asked)" if _asks_registry(names) else ""),
        find(f"{{{{{names[0]}}}}}") or rendering.places.get(names[0]),
    )
    for name in names[1:20]:
        place = find(f"{{{{{name}}}}}") or rendering.places.get(name)
        yield Fault(f"{{{{{name}}}}} is not bound (in {rendering.open[name]})", place)


def _asks_registry(names: list[str]) -> bool:
    return any(name.startswith("docker.image[") for name in names)


def _labelled(faults: list[Fault], rendering: Rendering, jobs: int) -> tuple[str, ...]:
    name = (rendering.data or {}).get("name")
    label = f"job {shown(name)}: " if jobs > 1 and isinstance(name, str) else ""
    for fault in faults:
        fault.text = label + fault.text
    return invalid(str(fault) for fault in faults).messages


def _key_text(data: Mapping[str, Any]) -> str:
    return "/".join(str(data.get(part) or "?") for part in ("cluster", "role", "environment", "name"))


def pick_job(specs: Sequence[JobSpec], key: JobKey) -> JobSpec:
    """Returns the one job of ``specs`` whose key is ``key``.

    Raises :class:`Invalid` if there is none (with the keys there are), if there are several, or if that
    job was refused (with its problems).
    """
    matching = [spec for spec in specs if spec.key == key]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise Invalid(f"the configuration describes {key} {len(matching)} times; leave one of them")
    refused = specs.refused if isinstance(specs, JobList) else ()
    for job in refused:
        if job.key == str(key):
            raise Invalid(*job.messages)
    known = [*map(str, (spec.key for spec in specs)), *(job.key for job in refused)]
    listed = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    raise Invalid(
        f"the URL names the job {key}, the configuration describes {listed or 'none'}; "
        "the keys (cluster/role/environment/name) must be the same"
    )
