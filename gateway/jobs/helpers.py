"""The helper functions of the job language: tasks made of tasks, orders, command line options.

All take and return values of the job model; a wrong argument raises :class:`Fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from pystachio import Empty
from pystachio.basic import String

from gateway.jobs import schema
from gateway.jobs.coercion import Notes, build, coerce, describe
from gateway.jobs.faults import Fault
from gateway.jobs.limits import current_budget

_SIMPLE = {"cpu": 1.0, "ram": 1 * schema.GB, "disk": 1 * schema.GB}


def order(*processes: Any) -> list[Any]:
    """``order(a, b, c)``: each process starts after the one before it has succeeded."""
    current_budget().items(len(processes))
    return [schema.Constraint(order=[_process_name(p) for p in processes])]


def simple_task(notes: Notes, name: Any, command: Any) -> Any:
    """``SimpleTask(name, command)``: one process with 1 CPU, 1 GB of memory and 1 GB of disk."""
    process = build(schema.Process, {"name": name, "cmdline": command}, notes)
    return build(
        schema.Task,
        {"name": name, "processes": [process], "resources": schema.Resources(**_SIMPLE)},
        notes,
    )


def sequential(task: Any) -> Any:
    """``Tasks.sequential(task)``: the processes of ``task`` run one after the other."""
    if _parts(task, "constraints"):
        raise Fault("a task that has constraints cannot be made sequential; leave out one of the two")
    processes = _parts(task, "processes")
    return task(constraints=order(*processes)) if processes else task


def combine(notes: Notes, *tasks: Any, **fields: Any) -> Any:
    """``Tasks.combine(t1, t2, …)``: all their processes at once, with the sum of their resources."""
    if not tasks:
        return build(schema.Task, fields, notes)
    return _merged(notes, tasks, fields, sum, _constraints(tasks))


def concat(notes: Notes, *tasks: Any, **fields: Any) -> Any:
    """``Tasks.concat(t1, t2, …)``: the tasks one after the other, with the most that one needs."""
    if not tasks:
        return build(schema.Task, fields, notes)
    constraints = _constraints(tasks)
    for first, second in pairwise(tasks):
        for before in _parts(first, "processes"):
            for after in _parts(second, "processes"):
                if before != after:
                    constraints.extend(order(before, after))
    return _merged(notes, tasks, fields, max, constraints)


def options(long_prefix: str) -> Callable[..., str]:
    """Returns ``java_options`` (prefix ``-``) or ``python_options`` (``--``)."""

    def render(*flags: Any, **named: Any) -> str:
        parts = []
        for flag in (*flags, named):
            if isinstance(flag, str):
                parts.append(_option(long_prefix, flag))
            elif isinstance(flag, Mapping):
                parts.extend(_option(long_prefix, k, v) for k, v in flag.items())
            else:
                raise Fault(f"an option is a text or a dict, not {describe(flag)}")
        text = " ".join(parts)
        current_budget().text(len(text))
        return text

    return render


def _option(long_prefix: str, name: Any, value: Any = None) -> str:
    if not isinstance(name, str) or not isinstance(value, str | int | float | type(None)):
        raise Fault("an option has a text for its name and a text or number for its value")
    option = ("-" if len(name) == 1 else long_prefix) + name
    current_budget().step()
    return f"{option} {value}" if value else option


def _process_name(process: Any) -> Any:
    if isinstance(process, schema.Process):
        if process.name() is Empty:
            raise Fault("order() was given a Process without a name")
        return process.name()
    if isinstance(process, str | String):
        return coerce(String, process, Notes())
    raise Fault(f"order() takes processes or their names, not {describe(process)}")


def _parts(task: Any, field: str) -> list[Any]:
    """The list in a task's ``processes`` or ``constraints``; empty if there is none."""
    if not isinstance(task, schema.Task):
        raise Fault(f"expects a Task, not {describe(task)}")
    parts = getattr(task, field)()
    return [] if parts is Empty else list(parts)


def _constraints(tasks: Iterable[Any]) -> list[Any]:
    return _distinct(constraint for task in tasks for constraint in _parts(task, "constraints"))


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The values without repetition. (Aurora's own helpers lose the order here; this keeps it.)"""
    distinct: list[Any] = []
    for value in values:
        current_budget().step(10 * (len(distinct) + 1))
        if value not in distinct:
            distinct.append(value)
    return distinct


def _merged(
    notes: Notes,
    tasks: tuple[Any, ...],
    fields: Mapping[str, Any],
    join: Callable[[list[Any]], Any],
    constraints: list[Any],
) -> Any:
    """All the processes in one task, which is otherwise the last one, with ``fields`` changed."""
    processes = _distinct(process for task in tasks for process in _parts(task, "processes"))
    resources = {
        name: join([_amount(task, name) for task in tasks]) for name in ("cpu", "ram", "disk", "gpu")
    }
    own = {
        "processes": processes,
        "resources": schema.Resources(**resources),
        "constraints": constraints,
    }
    return build(schema.Task, {**own, **fields}, notes, base=tasks[-1])


def _amount(task: Any, name: str) -> Any:
    if task.resources() is Empty:
        return 0
    amount = getattr(task.resources(), name)()
    if amount is Empty:
        return 0
    if not isinstance(amount.get(), int | float):
        raise Fault(f"resources.{name} of a task to be combined must be a number, not {amount.get()!r}")
    return amount.get()
