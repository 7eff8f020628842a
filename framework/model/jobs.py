"""Jobs: their keys, what their tasks need, how they are updated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from executor.task import Container, Node
from framework.model.errors import Invalid

# The gateway's rule for every part of a key; no leading "-", so that a part is never an option.
SEGMENT = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,255}")
# The name by which configurations know the executor of this project: that of Aurora's.
OWN_EXECUTOR = "AuroraExecutor"
_PARTS = ("cluster", "role", "environment", "name")


class JobKey(msgspec.Struct, frozen=True, gc=False, order=True, cache_hash=True):
    """``cluster/role/environment/name``: what identifies a job."""

    cluster: str
    role: str
    environment: str
    name: str

    def __str__(self) -> str:
        return f"{self.cluster}/{self.role}/{self.environment}/{self.name}"

    @classmethod
    def of(cls, *parts: str) -> JobKey:
        """Returns the key of four parts; raises :class:`Invalid` naming the part that is wrong."""
        if len(parts) != len(_PARTS):
            raise Invalid(f"a job key is {'/'.join(_PARTS)}, this one has {len(parts)} parts")
        for what, part in zip(_PARTS, parts, strict=True):
            check_segment(what, part)
        return cls(*parts)

    @classmethod
    def parse(cls, text: str) -> JobKey:
        """Returns the key written as ``cluster/role/environment/name``."""
        return cls.of(*text.split("/"))


def check_segment(what: str, part: str) -> None:
    """Raises :class:`Invalid` unless ``part`` may stand in a key; ``what`` names it for the user."""
    if not SEGMENT.fullmatch(part) or part in {".", ".."}:
        shown = part if len(part) <= 60 else part[:60] + "…"
        raise Invalid(
            f"{what} {shown!r} is not a valid name: use letters, digits, '_', '.' and '-', "
            "at most 255, not starting with '-', and not '.' or '..'"
        )


class Resources(msgspec.Struct, frozen=True, gc=False):
    """What one task needs. Memory and disk in MiB; ``ports`` are names, numbers come with an offer.

    ``data_disks`` is how many of the agent's data disks (its SET resource ``dataDisks``) the task has
    to itself; ``disk_names``, if there are any, names each of them.
    """

    cpus: float
    mem_mb: int
    disk_mb: int
    gpus: int = 0
    ports: tuple[str, ...] = ()
    data_disks: int = 0
    disk_names: tuple[str, ...] = ()


class Constraint(msgspec.Struct, frozen=True, gc=False, order=True):
    """A placement constraint on an agent attribute (``host`` is the agent's hostname).

    ``value``: the attribute is one of ``values`` (none of them when ``negated``).
    ``limit``: at most ``limit`` tasks of the job on agents that share the attribute's value; with
    ``among``, at most so many of those that have this tag.
    The attribute ``dedicated`` is a value constraint whose one value is ``role/...`` or ``*/...``.
    """

    attribute: str
    kind: Literal["value", "limit"]
    values: tuple[str, ...] = ()
    negated: bool = False
    limit: int = 0
    among: str = ""

    @classmethod
    def parse(cls, attribute: str, text: str) -> Constraint:
        """Reads Aurora's notation: ``a,b`` any of, ``!a,b`` none of, ``limit:2``.

        Raises :class:`Invalid` for a limit that is not a positive integer, or no value at all.
        """
        if text.startswith("limit:"):
            number = text.removeprefix("limit:").strip()
            if not re.fullmatch(r"[0-9]{1,9}", number) or int(number) < 1:
                raise Invalid(
                    f"constraint {attribute!r}: {text!r} is not a limit; write 'limit:N' with N >= 1"
                )
            return cls(attribute=attribute, kind="limit", limit=int(number))
        negated = text.startswith("!")
        values = tuple(sorted({v.strip() for v in text.lstrip("!").split(",") if v.strip()}))
        if not values:
            raise Invalid(f"constraint {attribute!r} has no value; write 'a,b', '!a,b' or 'limit:N'")
        return cls(attribute=attribute, kind="value", values=values, negated=negated)

    def __str__(self) -> str:
        if self.kind == "limit":
            among = f" among {self.among}" if self.among else ""
            return f"{self.attribute}=limit:{self.limit}{among}"
        return f"{self.attribute}={'!' if self.negated else ''}{','.join(self.values)}"


class PartitionPolicy(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a task whose agent is unreachable; ``delay_secs`` before it is replaced."""

    reschedule: bool = True
    delay_secs: int = 0


class SlaPolicy(msgspec.Struct, frozen=True, gc=False):
    """One of Aurora's three: ``amount`` is a count, or a percentage; the coordinator has a URL."""

    kind: Literal["count", "percentage", "coordinator"]
    amount: float = 0
    duration_secs: int = 0
    coordinator_url: str = ""
    status_key: str = ""


class TaskConfig(msgspec.Struct, frozen=True, gc=False):
    """What every instance of a job runs, and needs in order to run.

    ``executor_data`` is the job's JSON for the executor (see :mod:`executor.task`), kept as it came.
    ``max_task_failures`` -1: no limit. Two equal configs need no update. ``node``: the task is a node
    of a cluster. ``tags`` are for the constraints of other tasks of the job. A ``sticky`` task that has
    run is replaced on the same agent, with the same data disks.
    """

    resources: Resources
    executor_data: str
    constraints: tuple[Constraint, ...] = ()
    container: Container | None = None
    service: bool = False
    production: bool = False
    priority: int = 0
    tier: str | None = None
    max_task_failures: int = 1
    contact: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    task_links: tuple[tuple[str, str], ...] = ()
    partition_policy: PartitionPolicy | None = None
    sla_policy: SlaPolicy | None = None
    executor_name: str = OWN_EXECUTOR
    node: Node | None = None
    tags: tuple[str, ...] = ()
    sticky: bool = False


class UpdateSettings(msgspec.Struct, frozen=True, gc=False):
    """How a rolling update goes. Times in seconds.

    ``strategy``: ``queue`` starts the next instance as a slot frees; ``batch`` waits for the whole
    group; ``variable_batch`` uses ``group_sizes`` one after the other, the last one repeating.
    """

    strategy: Literal["queue", "batch", "variable_batch"] = "queue"
    group_sizes: tuple[int, ...] = (1,)
    autopause_after_batch: bool = False
    max_per_instance_failures: int = 0
    max_failed_instances: int = 0
    watch_secs: int = 45
    rollback_on_failure: bool = True
    pulse_interval_secs: int | None = None
    sla_aware: bool = False


class JobSpec(msgspec.Struct, frozen=True, gc=False):
    """A job as its author wants it: the result of reading a configuration."""

    key: JobKey
    instances: int
    config: TaskConfig
    update: UpdateSettings = UpdateSettings()
    cron_schedule: str | None = None
    cron_collision_policy: str = "KILL_EXISTING"
    warnings: tuple[str, ...] = ()


def format_instances(instances: Sequence[int]) -> str:
    """Returns instance numbers as ranges: ``0-2,5``."""
    parts: list[str] = []
    ids = sorted(set(instances))
    start = 0
    while start < len(ids):
        end = start
        while end + 1 < len(ids) and ids[end + 1] == ids[end] + 1:
            end += 1
        parts.append(str(ids[start]) if end == start else f"{ids[start]}-{ids[end]}")
        start = end + 1
    return ",".join(parts)
