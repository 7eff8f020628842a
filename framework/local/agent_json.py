"""An agent's state as JSON, for /state … and for the v1 operator API. Reads processes' statistics."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.local import durations
from framework.local import resources as res
from framework.local.build import CAPABILITIES, build_info, system_metrics
from framework.local.processes import members
from framework.local.runs import AgentFramework, Run, RunState, TaskRecord
from framework.local.state_json import attributes_state, describe_info, status_state

if TYPE_CHECKING:
    from framework.local.agent import Agent

Json = dict[str, Any]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def flags(agent: Agent) -> dict[str, str]:
    """The flags that have a meaning here, by Mesos's names."""
    config, times = agent.config, agent.config.times
    return {
        "advertise_ip": config.address,
        "attributes": config.attributes,
        "containerizers": "mesos",
        "default_role": "*",
        "executor_registration_timeout": durations.show(times.executor_registration),
        "executor_reregistration_timeout": durations.show(times.executor_reregistration),
        "executor_shutdown_grace_period": durations.show(times.executor_shutdown_grace),
        "hostname": config.address,
        "ip": config.address,
        "isolation": "posix/cpu,posix/mem",
        "launcher": "posix",
        "logging_level": config.log_level,
        "master": config.master_address,
        "port": str(config.port),
        "recover": "reconnect",
        "recovery_timeout": durations.show(times.recovery),
        "resources": config.resources,
        "switch_user": "true",
        "work_dir": config.work_dir,
    }


def _used(agent: Agent) -> res.Resources:
    return res.total(r.resources for f in agent.frameworks.values() for r in f.runs.values())


# -- /state --


def state(agent: Agent) -> Json:
    """Returns the body of the agent's ``/state``."""
    total = agent.total
    return build_info() | {
        "start_time": agent.start_time,
        "id": agent.id or "",
        "pid": f"slave(1)@{agent.config.address}:{agent.config.port}",
        "hostname": agent.config.address,
        "capabilities": list(CAPABILITIES),
        "resources": res.summary(total),
        "reserved_resources": {},
        "unreserved_resources": res.summary(total),
        "reserved_resources_full": {},
        "unreserved_resources_full": res.to_json(total, old_form=True),
        "reserved_resources_allocated": {},
        "unreserved_resources_allocated": res.summary(_used(agent)),
        "resource_providers": [],
        "attributes": attributes_state(agent.attributes),
        "master_hostname": agent.config.master_address.rpartition(":")[0],
        "flags": flags(agent),
        "frameworks": [
            _framework_state(agent, f) for f in agent.frameworks.values() if f.runs or f.ended
        ],
        "completed_frameworks": [
            _framework_state(agent, f) for f in agent.frameworks.values() if not (f.runs or f.ended)
        ],
    }


def _framework_state(agent: Agent, framework: AgentFramework) -> Json:
    info = framework.info
    result: Json = {
        "id": framework.id,
        "name": info["name"],
        "user": info["user"],
        "failover_timeout": info.get("failover_timeout", 0.0),
        "checkpoint": framework.checkpoint,
        "hostname": info.get("hostname", ""),
    }
    result |= {"roles": info["roles"]} if "roles" in info else {"role": info.get("role", "*")}
    result["executors"] = [_run_state(agent, r) for r in framework.all_runs()]
    result["completed_executors"] = [_run_state(agent, r) for r in framework.completed]
    return result


def _run_state(agent: Agent, run: Run) -> Json:
    def shown(tasks: list[TaskRecord]) -> list[Json]:
        return [_task_state(agent, run, t) for t in tasks]

    return {
        "id": run.executor_id,
        "name": run.info.get("name", ""),
        "source": run.info.get("source", ""),
        "container": run.container_id,
        "directory": str(run.directory),
        "resources": res.summary(run.resources),
        "role": run.role,
        "tasks": shown([t for t in run.tasks.values() if t.delivered]),
        "queued_tasks": shown([t for t in run.tasks.values() if not t.delivered]),
        "completed_tasks": shown(list(run.completed)),
    }


def _task_state(agent: Agent, run: Run, task: TaskRecord) -> Json:
    result: Json = {
        "id": task.id,
        "name": task.info["name"],
        "framework_id": run.framework_id,
        "executor_id": run.executor_id,
        "slave_id": agent.id,
        "state": task.state,
        "resources": res.summary(task.resources),
        "role": task.role,
        "statuses": [status_state(s) for s in task.statuses],
    }
    return result | describe_info(task.info)


# -- containers --


def _statistics(run: Run) -> Json:
    """What all processes of a run have used; a process that ends meanwhile counts no more."""
    user = system = rss = 0
    for who in members(run.who.pid, run.marker) if run.who is not None else ():
        try:
            text = Path(f"/proc/{who.pid}/stat").read_bytes()
        except OSError:
            continue
        fields = text[text.rindex(b")") + 2 :].split()
        user, system, rss = user + int(fields[11]), system + int(fields[12]), rss + int(fields[21])
    limit = int(run.resources.scalar("mem") * 1024 * 1024)
    return {
        "cpus_soft_limit": run.resources.scalar("cpus"),
        "cpus_system_time_secs": system / _TICKS,
        "cpus_user_time_secs": user / _TICKS,
        "mem_limit_bytes": limit,
        "mem_rss_bytes": rss * _PAGE,
        "mem_soft_limit_bytes": limit,
        "timestamp": time.time(),
    }


def _running(agent: Agent) -> list[Run]:
    return [r for f in agent.frameworks.values() for r in f.runs.values() if r.who is not None]


def containers(agent: Agent) -> list[Json]:
    """/containers."""
    return [
        {
            "container_id": run.container_id,
            **_about(run),
            "statistics": _statistics(run),
            "status": _container_status(run),
        }
        for run in _running(agent)
    ]


def statistics(agent: Agent) -> list[Json]:
    """/monitor/statistics."""
    return [{**_about(run), "statistics": _statistics(run)} for run in _running(agent)]


def _about(run: Run) -> Json:
    return {
        "executor_id": run.executor_id,
        "executor_name": run.info.get("name", ""),
        "framework_id": run.framework_id,
        "source": run.info.get("source", ""),
    }


def _container_status(run: Run) -> Json:
    assert run.who is not None
    return {"container_id": {"value": run.container_id}, "executor_pid": run.who.pid}


# -- the v1 operator API --


def get_containers(agent: Agent) -> Json:
    """Returns the answer to GET_CONTAINERS."""
    return {
        "containers": [
            {
                "framework_id": {"value": run.framework_id},
                "executor_id": {"value": run.executor_id},
                "executor_name": run.info.get("name", ""),
                "container_id": {"value": run.container_id},
                "container_status": _container_status(run),
                "resource_statistics": _statistics(run),
            }
            for run in _running(agent)
        ]
    }


def get_executors(agent: Agent) -> Json:
    """Returns the answer to GET_EXECUTORS."""
    frameworks = agent.frameworks.values()
    return {
        "executors": [{"executor_info": r.info} for f in frameworks for r in f.all_runs()],
        "completed_executors": [{"executor_info": r.info} for f in frameworks for r in f.completed],
    }


def get_frameworks(agent: Agent) -> Json:
    """Returns the answer to GET_FRAMEWORKS."""
    shown = [(f, {"framework_info": {"checkpoint": False, **f.info}}) for f in agent.frameworks.values()]
    return {
        "frameworks": [j for f, j in shown if f.all_runs()],
        "completed_frameworks": [j for f, j in shown if not f.all_runs()],
    }


def get_tasks(agent: Agent) -> Json:
    """Returns the answer to GET_TASKS."""
    runs = [r for f in agent.frameworks.values() for r in f.all_runs()]
    gone = [r for f in agent.frameworks.values() for r in (*f.all_runs(), *f.completed)]

    def shown(wanted: Any) -> list[Json]:
        return [_task(agent, r, t) for r in runs for t in r.tasks.values() if wanted(t)]

    return {
        "pending_tasks": [],
        "queued_tasks": shown(lambda t: not t.delivered and not t.terminal),
        "launched_tasks": shown(lambda t: t.delivered and not t.terminal),
        "terminated_tasks": shown(lambda t: t.terminal),
        "completed_tasks": [_task(agent, r, t) for r in gone for t in r.completed],
    }


def _task(agent: Agent, run: Run, task: TaskRecord) -> Json:
    result: Json = {
        "name": task.info["name"],
        "task_id": task.info["task_id"],
        "framework_id": {"value": run.framework_id},
        "executor_id": {"value": run.executor_id},
        "agent_id": {"value": agent.id},
        "state": task.state,
        "resources": task.info.get("resources", []),
        "statuses": task.statuses,
    }
    if task.update_state is not None:
        result |= {"status_update_state": task.update_state, "status_update_uuid": task.update_uuid}
    return result | {k: task.info[k] for k in ("labels", "discovery") if k in task.info}


def read_file(path: Path, offset: int, length: int | None) -> Json:
    """Returns the answer to READ_FILE: at most a mebibyte from ``offset`` on. Raises ``OSError``."""
    with open(path, "rb") as file:
        file.seek(max(offset, 0))
        data = file.read(1024 * 1024 if length is None else max(0, min(length, 1024 * 1024)))
    return {"size": path.stat().st_size, "data": base64.b64encode(data).decode()}


def metrics(agent: Agent) -> dict[str, float]:
    """/metrics/snapshot: what is counted here, by Mesos's names."""
    runs = [r for f in agent.frameworks.values() for r in f.runs.values()]
    tasks = [t for r in runs for t in r.tasks.values()]
    used = _used(agent)
    result: dict[str, float] = {}
    for name in ("cpus", "disk", "gpus", "mem"):
        whole, taken = agent.total.scalar(name), used.scalar(name)
        result |= {f"slave/{name}_total": whole, f"slave/{name}_used": taken}
        result[f"slave/{name}_percent"] = taken / whole if whole else 0.0
    for name in ("staging", "starting", "running", "killing"):
        result[f"slave/tasks_{name}"] = float(sum(t.state == f"TASK_{name.upper()}" for t in tasks))
    for name in ("failed", "finished", "gone", "killed", "lost"):
        result[f"slave/tasks_{name}"] = float(agent.counters.get(f"tasks_{name}", 0))
    for name in ("registering", "running", "terminating"):
        count = sum(r.state is RunState[name.upper()] for r in runs)
        result[f"slave/executors_{name}"] = float(count)
    counted = (
        "executors_terminated",
        "container_launch_errors",
        "valid_status_updates",
        "valid_framework_messages",
    )
    result |= {f"slave/{name}": float(agent.counters.get(name, 0)) for name in counted}
    result["slave/frameworks_active"] = float(sum(bool(f.runs) for f in agent.frameworks.values()))
    result["slave/registered"] = float(agent.registered)
    result["slave/uptime_secs"] = time.time() - agent.start_time
    return dict(sorted((result | system_metrics()).items()))
