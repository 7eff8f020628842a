"""What must hold for a job before it is sent anywhere: Aurora's client-side validation, and bounds.

Each check takes the job as plain data and yields the faults it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from framework.model.errors import Invalid
from framework.model.jobs import check_segment
from gateway.jobs.conversion import (
    constraints,
    is_dedicated,
    ports_in,
    requested_ports,
    resolved_portmap,
)
from gateway.jobs.faults import Fault, shown
from gateway.jobs.limits import Limits

_MB = 1024 * 1024
_MAX_INT = 2**31 - 1
_CRON_POLICIES = ("KILL_EXISTING", "CANCEL_NEW", "RUN_OVERLAP")
_PROCESS_NAME = re.compile(r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]*")
_NESTED = re.compile(r"\{\{[\w.&\[\]/-]*\{\{")
_MIN_PULSE = 60

# path -> smallest value; all are whole or decimal numbers that fit 32 bits
_NOT_BELOW = {
    "instances": 1,
    "max_task_failures": -1,
    "task.resources.gpu": 0,
    "task.max_failures": 0,
    "task.max_concurrency": 0,
    "task.finalization_wait": 0,
    "update_config.watch_secs": 0,
    "update_config.max_per_shard_failures": 0,
    "update_config.max_total_failures": 0,
    "update_config.pulse_interval_secs": _MIN_PULSE,
    "update_config.batch_size": 1,
    "update_config.update_strategy.batch_size": 1,
    "health_check_config.initial_interval_secs": 0,
    "health_check_config.interval_secs": 0,
    "health_check_config.timeout_secs": 0,
    "health_check_config.max_consecutive_failures": 0,
    "health_check_config.min_consecutive_successes": 0,
    "health_check_config.health_checker.http.expected_response_code": 0,
    "lifecycle.http.graceful_shutdown_wait_secs": 0,
    "lifecycle.http.shutdown_wait_secs": 0,
    "partition_policy.delay_secs": 0,
    "sla_policy.count": 0,
    "sla_policy.duration_secs": 0,
    "sla_policy.percentage": 0,
    "priority": -_MAX_INT,
}


def _by_parent() -> list[tuple[tuple[str, ...], list[tuple[str, str, int]]]]:
    """Returns the bounds by where they stand: each parent is looked up once, and most jobs lack some."""
    found: dict[tuple[str, ...], list[tuple[str, str, int]]] = {}
    for path, least in _NOT_BELOW.items():
        *parents, name = path.split(".")
        found.setdefault(tuple(parents), []).append((name, path, least))
    return list(found.items())


_BOUNDS = _by_parent()


def check_job(data: Mapping[str, Any], limits: Limits) -> Iterator[Fault]:
    """Yields all that is wrong with a job that has its required fields, all of the right types."""
    yield from check_values(data, limits)
    yield from _nested(data, "")


def check_values(data: Mapping[str, Any], limits: Limits) -> Iterator[Fault]:
    """Yields the same of a job in which no reference stands within another."""
    yield from _key(data)
    yield from _numbers(data)
    yield from _resources(data)
    yield from _processes(data["task"]["processes"])
    yield from _orders(data["task"])
    yield from _update(data)
    yield from _placement(data)
    yield from _container(data.get("container"))
    yield from _rest(data, limits)


def _key(data: Mapping[str, Any]) -> Iterator[Fault]:
    for part in ("cluster", "role", "environment", "name"):
        try:
            check_segment(part, data[part])
        except Invalid as error:
            yield Fault(str(error))


def _at(data: Any, *names: str) -> Any:
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _numbers(data: Mapping[str, Any]) -> Iterator[Fault]:
    for parents, bounds in _BOUNDS:
        parent = _at(data, *parents)
        if parent is not None:
            for name, path, least in bounds:
                value = parent.get(name)
                if value is not None and not least <= value <= _MAX_INT:
                    yield _beyond(path, value, least)
    for index, process in enumerate(data["task"]["processes"]):
        for name in ("max_failures", "min_duration"):
            if not 0 <= process[name] <= _MAX_INT:
                yield _beyond(f"task.processes[{index}].{name}", process[name], 0)
        rotate = _at(process, "logger", "rotate")
        if rotate is not None and not 0 <= rotate["backups"] <= _MAX_INT:
            yield _beyond(f"task.processes[{index}].logger.rotate.backups", rotate["backups"], 0)
        if rotate is not None and rotate["log_size"] < 1:
            yield Fault(
                f"task.processes[{index}].logger.rotate.log_size is {shown(rotate['log_size'])}; it "
                "must be above 0, or nothing of what the process writes is kept"
            )
    for size in _at(data, "update_config", "update_strategy", "batch_sizes") or ():
        if not 1 <= size <= _MAX_INT:
            yield _beyond("update_config.update_strategy.batch_sizes", size, 1)
    if (_at(data, "sla_policy", "percentage") or 0) > 100:
        yield Fault("sla_policy.percentage is at most 100")


def _beyond(path: str, value: Any, least: int) -> Fault:
    return Fault(f"{path} is {shown(value)}; it must be from {least} to {_MAX_INT}")


def _resources(data: Mapping[str, Any]) -> Iterator[Fault]:
    resources = data["task"].get("resources")
    if resources is None:
        yield Fault(
            "task.resources is required: Resources(cpu = 1.0, ram = 128*MB, disk = 128*MB), for example"
        )
        return
    if not 0 < resources["cpu"] <= 1e6:
        yield Fault(
            f"task.resources.cpu is {shown(resources['cpu'])}; it must be above 0, up to 1000000"
        )
    for name in ("ram", "disk"):
        if not _MB <= resources[name] <= _MAX_INT * _MB:
            yield Fault(
                f"task.resources.{name} is {resources[name]} bytes; it must be at least 1 MB: write "
                f"{name} = 128*MB, for example"
            )


def _processes(processes: list[Mapping[str, Any]]) -> Iterator[Fault]:
    seen = set()
    for index, process in enumerate(processes):
        name = process["name"]
        if not _PROCESS_NAME.fullmatch(name) or len(name.encode()) > 200:
            yield Fault(
                f"task.processes[{index}].name {shown(name)} is not possible: it has no '/', does not "
                "start with '.', and has 1 to 200 printable characters"
            )
        if name in seen:
            yield Fault(f"task.processes[{index}]: there are two processes named {shown(name)}")
        seen.add(name)


def _orders(task: Mapping[str, Any]) -> Iterator[Fault]:
    """The rules by which Aurora's planner accepts a task, for its usual and its final processes."""
    by_name = {process["name"]: process for process in task["processes"]}
    after: dict[str, set[str]] = {name: set() for name in by_name}
    for index, constraint in enumerate(task["constraints"]):
        where = f"task.constraints[{index}].order"
        names = constraint.get("order")
        if names is None:
            continue
        unknown = [name for name in names if name not in by_name]
        if unknown:
            if len(unknown) < len(names):
                yield Fault(f"{where} names {shown(unknown[0])}, which is no process of the task")
            continue
        if not names:
            yield Fault(f"{where} is empty; leave it out or name processes")
        elif len({by_name[name]["final"] for name in names}) > 1:
            yield Fault(f"{where}: final processes run after all others anyway; do not order them")
        for first, second in pairwise(names):
            yield from _dependency(where, by_name[first], by_name[second])
            after[first].add(second)
    cycle = _cycle(after)
    if cycle:
        yield Fault(
            f"task.constraints: {' -> '.join(map(shown, cycle))} never starts, each waits for another"
        )


def _dependency(where: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Fault]:
    if first["daemon"]:
        yield Fault(
            f"{where}: {shown(second['name'])} would wait for the daemon {shown(first['name'])}, which "
            "never ends"
        )
    if first["ephemeral"] and not second["ephemeral"]:
        yield Fault(
            f"{where}: {shown(second['name'])} is not ephemeral and cannot wait for the ephemeral "
            f"{shown(first['name'])}"
        )


def _cycle(after: Mapping[str, set[str]]) -> list[str]:
    """Returns names that wait for each other in a circle, or nothing."""
    waiting = dict.fromkeys(after, 0)
    for followers in after.values():
        for name in followers:
            waiting[name] += 1
    ready = [name for name, count in waiting.items() if count == 0]
    while ready:
        for name in after[ready.pop()]:
            waiting[name] -= 1
            if waiting[name] == 0:
                ready.append(name)
    stuck = [name for name, count in waiting.items() if count > 0]
    if not stuck:
        return []
    before = {n: next(b for b in stuck if n in after[b]) for n in stuck}
    path = [stuck[0]]
    while (name := before[path[-1]]) not in path:
        path.append(name)
    circle = path[path.index(name) :][::-1]
    return [*circle, circle[0]]


def _update(data: Mapping[str, Any]) -> Iterator[Fault]:
    update = data["update_config"]
    size = data["instances"]
    failures = update["max_total_failures"]
    if failures >= size > 0:
        yield Fault(
            f"update_config.max_total_failures is {failures}; it must be below the number of instances: "
            f"for {size} instances at most {size - 1}"
        )
    if is_dedicated(data) and failures < size * 2 // 100:
        yield Fault(
            f"update_config.max_total_failures is {failures}; a dedicated job needs at least 2% of its "
            f"instances: for {size} instances {size * 2 // 100}"
        )
    if update.get("update_strategy") is not None:
        for name, default in (("batch_size", 1), ("wait_for_batch_completion", False)):
            if update[name] != default:
                yield Fault(
                    f"update_config.{name} cannot stand beside update_strategy; "
                    "give the size to the strategy"
                )
    if _at(update, "update_strategy", "batch_sizes") == []:
        yield Fault("update_config.update_strategy.batch_sizes is empty; write [1, 2, 3], for example")


def _placement(data: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        constraints(data)
    except Fault as fault:
        yield fault
    try:
        portmap = resolved_portmap(data)
    except Fault as fault:
        yield fault
        return
    for name, port in portmap.items():
        if isinstance(port, int) and not is_dedicated(data):
            yield Fault(
                f"announce.portmap: {shown(name)} is the fixed port {port}, which only a job with the "
                "constraint 'dedicated' may have; name a port instead"
            )

    yield from _asked_ports(data, {*requested_ports(data), *portmap})


def _asked_ports(data: Mapping[str, Any], known: set[str]) -> Iterator[Fault]:
    """A health check that asks at a port which the task does not have fails every task."""
    for kind, field in (("shell", "shell_command"), ("http", "endpoint")):
        text = _at(data, "health_check_config", "health_checker", kind, field) or ""
        for name in sorted(ports_in(text) - known):
            yield Fault(
                f"health_check_config.health_checker.{kind}.{field} refers to "
                f"{{{{thermos.ports[{name}]}}}}, which no process does: a task has the ports that its "
                "processes refer to, or that it announces"
            )


def _container(container: Any) -> Iterator[Fault]:
    if container is None:
        return
    image = container.get("docker", container).get("image")
    if image is None:
        if "docker" not in container and "volumes" not in container:
            yield Fault("container: Container needs docker = Docker(image = 'name:tag')")
        return
    for text in image.values() if isinstance(image, Mapping) else (image,):
        if not re.fullmatch(r"(?!-)[!-~]{1,500}", text):
            yield Fault(f"container.image {shown(text)} is not the name of an image; write 'name:tag'")


def _rest(data: Mapping[str, Any], limits: Limits) -> Iterator[Fault]:
    if _at(data, "health_check_config", "timeout_secs") == 0:
        yield Fault(
            "health_check_config.timeout_secs is 0; it must be above 0: no check is answered in no time"
        )
    if data["instances"] > limits.instances:
        yield Fault(f"instances is {data['instances']}; at most {limits.instances} are accepted")
    if data["cron_collision_policy"] not in _CRON_POLICIES:
        yield Fault(
            f"cron_collision_policy {shown(data['cron_collision_policy'])} is not one of "
            + ", ".join(_CRON_POLICIES)
        )


def _nested(value: Any, path: str) -> Iterator[Fault]:
    if isinstance(value, dict):
        for name, part in value.items():
            if _may_refer(part):
                yield from _nested(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            if _may_refer(part):
                yield from _nested(part, f"{path}[{index}]")
    elif _NESTED.search(value):
        yield Fault(
            f"{path}: {shown(value)} has a reference within a reference, which cannot be known before "
            "the task runs"
        )


def _may_refer(value: Any) -> bool:
    """Whether there may be a reference in it; a job has sixty values, and most are plain."""
    return "{{" in value if isinstance(value, str) else isinstance(value, dict | list)


def warnings(data: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is allowed and probably not meant."""
    primary = _at(data, "announce", "primary_port")
    if primary is not None and primary not in requested_ports(data):
        yield (
            f"announce: no process uses the primary port {shown(primary)}; refer to it as "
            f"{{{{thermos.ports[{primary}]}}}}"
        )
    processes = {process["name"] for process in data["task"]["processes"]}
    for constraint in data["task"]["constraints"]:
        if processes.isdisjoint(constraint.get("order") or processes):
            yield "task.constraints: an order names no process that the task has; it is ignored"
    container = data.get("container") or {}
    if isinstance(container.get("image"), Mapping) and "image_id" in container["image"]:
        yield "container: AppcImage is passed on; this gateway's executor runs Docker images only"
    if container.get("docker", container).get("image") and data["task"].get("user"):
        yield "task.user is ignored: a container runs as the user that its image says"
    if container.get("volumes") and container.get("image") is None:
        yield "container: volumes without an image are not mounted"
    if "task_links" in data:
        yield "task_links are kept, and shown nowhere by Aurora's scheduler"
