"""The executor as Mesos is told of it: its command, its resources, its id. Pure.

Mesos runs one executor per agent and executor id, and refuses a task whose ExecutorInfo differs from
that of the running executor with the same id. So the id carries a hash of everything in the
ExecutorInfo: after a change of settings (a new release, another path) new tasks get a new executor,
and the old one keeps its tasks until they end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from executor.task import Container, TaskPayload
from framework.mesos.resources import UNRESERVED, Json, Pool, origin, owner, scalar
from framework.model.errors import Invalid, NotFound, Unavailable
from framework.model.tasks import Task

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
# A task_user that stands for the role of each job.
ROLE = "role"
# What the path of data disks may hold.
_DISK, _HOSTNAME = "{disk}", "{hostname}"


class ExecutorSettings(msgspec.Struct, frozen=True):
    """How an agent gets and starts the executor, and what it is told with every task.

    ``command`` runs in a shell on the agent; ``uri`` is fetched into the sandbox by Mesos first, and
    run if there is no command. ``cpus`` and ``mem_mb`` are the executor's own. ``user`` is whom the
    executor runs as (None: the framework's user). ``task_user``: ``role`` runs each task as its
    job's role, another name as that user, None as the executor's user. ``default_image`` is the
    image of tasks that name none; ``pull_policy`` when images are pulled. ``disk_path`` is where an
    agent has its data disks: ``{disk}`` stands for the disk's name, ``{hostname}`` for the agent's.
    """

    command: str = ""
    uri: str = ""
    cpus: float = 0.1
    mem_mb: int = 64
    environment: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    task_user: str | None = None
    default_image: str | None = None
    pull_policy: Literal["always", "missing", "never"] = "missing"
    disk_path: str = "/data/{disk}"
    name: str = "mesos-gateway"

    def check(self) -> None:
        """Raises :class:`Invalid` if agents could not start this."""
        if not self.command and not self.uri:
            raise Invalid(
                "agents are not told how to start the executor: give a command (a path on every agent) "
                "or a URI (for Mesos's fetcher)"
            )
        check_disk_path(self.disk_path)
        if self.cpus < 0.01 or self.mem_mb < 32:
            raise Invalid("the executor needs at least 0.01 cpus and 32 MiB of memory (Mesos's minimum)")


def check_disk_path(template: str) -> None:
    """Raises :class:`Invalid` for a template that gives no path, or two disks of an agent the same."""
    if not template.startswith("/") or _DISK not in template:
        raise Invalid(
            f"the path of data disks, {template!r}, must be absolute and hold {{disk}}: /data/{{disk}}"
        )
    if others := re.search(r"[{}]", template.replace(_DISK, "").replace(_HOSTNAME, "")):
        raise Invalid(
            f"the path of data disks, {template!r}, has a {others.group()!r} too many: it may hold "
            "{disk} and {hostname}"
        )


def command_info(settings: ExecutorSettings) -> dict[str, Any]:
    """Returns the CommandInfo of the executor."""
    command: dict[str, Any] = {"value": settings.command or _run_fetched(settings.uri)}
    if settings.uri:
        extract = urlsplit(settings.uri).path.endswith(_ARCHIVES)
        command["uris"] = [{"value": settings.uri, "executable": not extract, "extract": extract}]
    if settings.environment:
        variables = [{"name": name, "value": value} for name, value in settings.environment]
        command["environment"] = {"variables": variables}
    if settings.user is not None:
        command["user"] = settings.user
    return command


def _run_fetched(uri: str) -> str:
    name = urlsplit(uri).path.rpartition("/")[2]
    return "./" + "".join(c if c.isalnum() or c in "._-" else f"\\{c}" for c in name)


def executor_info(settings: ExecutorSettings, resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the ExecutorInfo for an executor that holds these resources."""
    info: dict[str, Any] = {
        "name": settings.name,
        "source": settings.name,
        "command": command_info(settings),
        "resources": resources,
    }
    digest = hashlib.sha256(msgspec.json.encode(info)).hexdigest()[:12]
    return {"executor_id": {"value": f"{settings.name}-{digest}"}, **info}


def variants(settings: ExecutorSettings, resources: Iterable[Json], role: str) -> list[dict[str, Any]]:
    """Returns the ExecutorInfos that may already run on an agent, each from resources of one owner.

    The unreserved one comes first. ``resources`` (the offer's) contribute the reservations whose
    details cannot be known otherwise.
    """
    origins: dict[bytes, dict[str, Any]] = {}
    for resource in ({"role": UNRESERVED}, {"role": role}, *resources):
        if owner(resource) in (UNRESERVED, role):
            fields = origin(resource)
            origins.setdefault(msgspec.json.encode(fields), fields)
    return [executor_info(settings, _own(settings, fields)) for fields in origins.values()]


def _own(settings: ExecutorSettings, fields: Json) -> list[dict[str, Any]]:
    own = (scalar("cpus", settings.cpus), scalar("mem", settings.mem_mb))
    return [{**{k: v for k, v in one.items() if k != "role"}, **fields} for one in own]


def running_variant(known: Iterable[Json], executor_ids: Iterable[str]) -> Json | None:
    """Returns the ExecutorInfo that is among the agent's executors."""
    running = set(executor_ids)
    return next((info for info in known if info["executor_id"]["value"] in running), None)


def new_variant(settings: ExecutorSettings, known: list[dict[str, Any]], pool: Pool) -> Json:
    """Chooses the ExecutorInfo for an agent without one, and takes its resources from the pool."""
    for info in known:
        if pool.holds(info["resources"]):
            pool.remove(info["resources"])
            return info
    # Only both owners' resources together suffice, or there is not enough: Mesos will say so.
    return executor_info(
        settings, [*pool.take("cpus", settings.cpus), *pool.take("mem", settings.mem_mb)]
    )


def payload(task: Task, settings: ExecutorSettings) -> TaskPayload:
    """Returns what the executor is told of a task."""
    container = task.config.container
    if container is None and settings.default_image is not None:
        container = Container(image=settings.default_image)
    user = task.key.role if settings.task_user == ROLE else settings.task_user
    wanted = task.config.resources
    return TaskPayload(
        task_id=task.task_id,
        cluster=task.key.cluster,
        role=task.key.role,
        environment=task.key.environment,
        name=task.key.name,
        instance=task.instance,
        executor_data=task.config.executor_data,
        cpus=wanted.cpus,
        mem_mb=wanted.mem_mb,
        disk_mb=wanted.disk_mb,
        gpus=wanted.gpus,
        ports=task.ports,
        hostname=task.hostname or "",
        container=container,
        user=user,
        pull_policy=settings.pull_policy,
        node=task.config.node,
        disk_paths=disk_paths(task, settings),
    )


def disk_paths(task: Task, settings: ExecutorSettings) -> tuple[str, ...]:
    """Returns the paths of the task's data disks on its agent, in their order."""
    template = settings.disk_path.replace(_HOSTNAME, task.hostname or "")
    return tuple(template.replace(_DISK, disk) for disk in task.disks)


def whereabouts(task: Task) -> tuple[str, str]:
    """Returns the ids of the agent and of the executor that a task runs on.

    Raises :class:`NotFound` if it does not run any more, :class:`Unavailable` if it does not run yet.
    """
    if not task.is_active:
        raise NotFound(f"task {task.task_id} does not run: it is {task.state}")
    executor_id = executor_of(task.sandbox)
    if task.agent_id is None or executor_id is None:
        raise Unavailable(f"task {task.task_id} does not run yet: it is {task.state}")
    return task.agent_id, executor_id


def executor_of(sandbox: str) -> str | None:
    """Returns the id of the executor that has this sandbox, None if none can be seen in it.

    Mesos's agents run executors in ``…/frameworks/F/executors/E/runs/C``, and tasks of ours report a
    directory below that: so it is known, also to a gateway that has been started since, and of an
    executor that another release has launched.
    """
    found = re.findall(r"/frameworks/[^/]+/executors/([^/]+)/runs/", sandbox)
    return found[-1] if found else None
