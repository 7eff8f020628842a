"""A job as plain data -> JobSpec. What is wrong with the values is found by :mod:`.checks` before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from executor.task import Container, Parameter, Volume, resolve_portmap
from framework.model.errors import GatewayError
from framework.model.jobs import (
    OWN_EXECUTOR,
    Constraint,
    JobKey,
    JobSpec,
    PartitionPolicy,
    Resources,
    SlaPolicy,
    TaskConfig,
    UpdateSettings,
)
from gateway.jobs.faults import Fault

_MB = 1024 * 1024
_PORT = re.compile(r"\{\{thermos\.ports\[([^\[\]{}]+)\]\}\}")
_RUN_TIME = re.compile(r"\{\{(mesos\.instance)\}\}|\{\{thermos\.ports\[([^\[\]{}]+)\]\}\}")
# The fields that an update may change without touching a task.
_NOT_FOR_EXECUTOR = ("update_config", "instances")


def job_spec(data: Mapping[str, Any], warnings: Iterable[str]) -> JobSpec:
    """Returns the job described by ``data``, as :func:`gateway.jobs.rendering.render` gives it."""
    return JobSpec(
        key=JobKey.of(data["cluster"], data["role"], data["environment"], data["name"]),
        instances=data["instances"],
        config=_task_config(data),
        update=_update_settings(data["update_config"]),
        cron_schedule=data.get("cron_schedule"),
        cron_collision_policy=data["cron_collision_policy"],
        warnings=tuple(warnings),
    )


def _task_config(data: Mapping[str, Any]) -> TaskConfig:
    resources = data["task"]["resources"]
    executor = data["executor_config"]
    links = {k: placeholders(v) for k, v in data.get("task_links", {}).items()}
    own = executor["name"] == OWN_EXECUTOR
    return TaskConfig(
        resources=Resources(
            cpus=float(resources["cpu"]),
            mem_mb=resources["ram"] // _MB,
            disk_mb=resources["disk"] // _MB,
            gpus=resources["gpu"],
            ports=requested_ports(data),
        ),
        executor_data=_document(data, links) if own else executor.get("data", ""),
        constraints=constraints(data),
        container=_container(data.get("container")),
        service=data["service"],
        production=data["production"],
        priority=data["priority"],
        tier=data.get("tier"),
        max_task_failures=data["max_task_failures"],
        contact=data.get("contact"),
        metadata=tuple(sorted({(m["key"], m["value"]) for m in data["metadata"]})),
        task_links=tuple(sorted(links.items())),
        partition_policy=_partition_policy(data.get("partition_policy")),
        sla_policy=_sla_policy(data.get("sla_policy")),
        executor_name=executor["name"],
    )


def _document(data: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """The JSON that travels to the executor; the same job always gives the same text."""
    document = {k: v for k, v in data.items() if k not in _NOT_FOR_EXECUTOR}
    if links:
        document["task_links"] = links
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def constraints(data: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """Returns the placement constraints; raises :class:`Fault` for one that cannot be read."""
    parsed = []
    for attribute, text in sorted(data.get("constraints", {}).items()):
        if not attribute.strip():
            raise Fault("constraints: an attribute has no name")
        try:
            parsed.append(Constraint.parse(attribute, text))
        except GatewayError as error:
            raise Fault(f"constraints: {error}") from None
    return tuple(parsed)


def is_dedicated(data: Mapping[str, Any]) -> bool:
    """Whether the job runs on agents that are kept for it."""
    return "dedicated" in data.get("constraints", {})


def resolved_portmap(data: Mapping[str, Any]) -> dict[str, str | int]:
    """Returns what each name of the announced port map stands for: a port's name, or a number.

    Raises :class:`Fault` for names that stand for each other.
    """
    try:
        return resolve_portmap(data.get("announce", {}).get("portmap", {}))
    except ValueError as error:
        raise Fault(str(error)) from None


def ports_in(text: str) -> set[str]:
    """Returns the names of the ports that a text refers to."""
    return set(_PORT.findall(text))


def requested_ports(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the ports an offer must give: what processes refer to or is announced."""
    portmap = resolved_portmap(data)
    texts = (process[field] for process in data["task"]["processes"] for field in ("cmdline", "name"))
    referenced = {name for text in texts for name in ports_in(text)}
    wanted = {portmap.get(name, name) for name in referenced} | set(portmap.values())
    return tuple(sorted(port for port in wanted if isinstance(port, str)))


def placeholders(link: str) -> str:
    """Returns a task link with Aurora's placeholders: ``%shard_id%``, ``%port:http%``."""
    return _RUN_TIME.sub(lambda m: "%shard_id%" if m[1] else f"%port:{m[2]}%", link)


def _container(data: Mapping[str, Any] | None) -> Container | None:
    if data is None:
        return None
    if "docker" in data:
        data = data["docker"]
    if isinstance(data.get("image"), str):
        return Container(
            image=data["image"],
            parameters=tuple(Parameter(p["name"], p["value"]) for p in data["parameters"]),
        )
    image = data.get("image")
    if image is None:
        return None
    return Container(
        image=f"{image['name']}:{image['tag']}"
        if "tag" in image
        else f"{image['name']}@{image['image_id']}",
        kind="mesos",
        volumes=tuple(Volume(v["container_path"], v["host_path"], v["mode"]) for v in data["volumes"]),
    )


def _partition_policy(data: Mapping[str, Any] | None) -> PartitionPolicy | None:
    return None if data is None else PartitionPolicy(data["reschedule"], data["delay_secs"])


def _sla_policy(data: Mapping[str, Any] | None) -> SlaPolicy | None:
    if data is None:
        return None
    if "count" in data:
        return SlaPolicy("count", amount=data["count"], duration_secs=data["duration_secs"])
    if "percentage" in data:
        return SlaPolicy("percentage", amount=data["percentage"], duration_secs=data["duration_secs"])
    return SlaPolicy(
        "coordinator", coordinator_url=data["coordinator_url"], status_key=data["status_key"]
    )


def _update_settings(data: Mapping[str, Any]) -> UpdateSettings:
    strategy, sizes, autopause = _strategy(data)
    return UpdateSettings(
        strategy=strategy,
        group_sizes=sizes,
        autopause_after_batch=autopause,
        max_per_instance_failures=data["max_per_shard_failures"],
        max_failed_instances=data["max_total_failures"],
        watch_secs=data["watch_secs"],
        rollback_on_failure=data["rollback_on_failure"],
        pulse_interval_secs=data.get("pulse_interval_secs"),
        sla_aware=data["sla_aware"],
    )


def _strategy(data: Mapping[str, Any]) -> tuple[Any, tuple[int, ...], bool]:
    explicit = data.get("update_strategy")
    if explicit is None:
        return "batch" if data["wait_for_batch_completion"] else "queue", (data["batch_size"],), False
    if "batch_sizes" in explicit:
        return "variable_batch", tuple(explicit["batch_sizes"]), explicit["autopause_after_batch"]
    if "autopause_after_batch" in explicit:
        return "batch", (explicit["batch_size"],), explicit["autopause_after_batch"]
    return "queue", (explicit["batch_size"],), False
