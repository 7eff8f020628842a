"""The master's /metrics/snapshot: what is counted here, by Mesos's names, and the machine's load."""

from __future__ import annotations

import time
from typing import Any

from framework.local import resources as res
from framework.local.build import system_metrics
from framework.local.cluster import Framework
from framework.local.master import Master
from framework.local.schema import ENUMS

Json = dict[str, Any]

_KINDS = ("cpus", "disk", "gpus", "mem")
_ACTIVE = ("staging", "starting", "running", "killing", "unreachable")
_TERMINAL = ("dropped", "error", "failed", "finished", "gone", "gone_by_operator", "killed", "lost")
_EVENTS = (
    "error",
    "failure",
    "heartbeat",
    "inverse_offers",
    "message",
    "offers",
    "rescind",
    "rescind_inverse_offer",
    "subscribed",
    "update",
    "update_operation_status",
)
_COUNTED = (
    "invalid_framework_to_executor_messages",
    "slave_registrations",
    "slave_removals",
    "slave_removals/reason_unhealthy",
    "slave_removals/reason_unregistered",
    "slave_reregistrations",
    "valid_executor_to_framework_messages",
    "valid_framework_to_executor_messages",
    "valid_status_update_acknowledgements",
    "valid_status_updates",
)


def _enum(name: str) -> list[str]:
    lines = ENUMS.strip().splitlines()
    return next(line.partition(":")[2].split() for line in lines if line.startswith(name + ":"))


_CALLS = [c.lower() for c in _enum("SchedulerCallType") if c != "UNKNOWN"]
_OPERATIONS = [o.lower() for o in _enum("OperationType") if o != "UNKNOWN"]


def snapshot(master: Master) -> dict[str, float]:
    """Returns every metric; those of a framework stand under ``master/frameworks/NAME/ID/``."""
    result = _resources(master) | _frameworks(master) | _agents(master) | _tasks(master)
    result |= {f"master/{name}": float(master.counters.get(name, 0)) for name in _COUNTED}
    result["allocator/mesos/allocation_runs"] = float(master.counters.get("allocation_runs", 0))
    result["master/elected"] = float(master.config.follow is None)
    result["master/uptime_secs"] = time.time() - master.start_time
    result["master/outstanding_offers"] = float(sum(len(a.offers) for a in master.agents.values()))
    result["master/operator_event_stream_subscribers"] = float(len(master.watchers))
    for framework in master.frameworks.values():
        result |= _framework(framework)
    return dict(sorted((result | system_metrics()).items()))


def _resources(master: Master) -> dict[str, float]:
    total = res.total(a.total for a in master.agents.values())
    used = res.total(a.used for a in master.agents.values())
    offered = res.total(a.offered for a in master.agents.values())
    result: dict[str, float] = {}
    for name in _KINDS:
        whole, taken = total.scalar(name), used.scalar(name)
        result |= {f"master/{name}_total": whole, f"master/{name}_used": taken}
        result[f"master/{name}_percent"] = taken / whole if whole else 0.0
        if name != "gpus":
            given = (used + offered).scalar(name)
            result[f"allocator/mesos/resources/{name}/offered_or_allocated"] = given
            result[f"allocator/mesos/resources/{name}/total"] = whole
    return result


def _frameworks(master: Master) -> dict[str, float]:
    everyone = master.frameworks.values()
    connected = sum(f.connected for f in everyone)
    active = sum(f.active for f in everyone)
    return {
        "master/frameworks_active": float(active),
        "master/frameworks_connected": float(connected),
        "master/frameworks_disconnected": float(len(everyone) - connected),
        "master/frameworks_inactive": float(len(everyone) - active),
    }


def _agents(master: Master) -> dict[str, float]:
    connected = sum(a.link is not None for a in master.agents.values())
    away = len(master.agents) - connected
    return {
        "master/slaves_active": float(connected),
        "master/slaves_connected": float(connected),
        "master/slaves_disconnected": float(away),
        "master/slaves_inactive": float(away),
        "master/slaves_unreachable": float(len(master.unreachable)),
    }


def _tasks(master: Master) -> dict[str, float]:
    live = [t for f in master.frameworks.values() for t in (*f.tasks.values(), *f.unreachable.values())]
    result = {
        f"master/tasks_{n}": float(sum(t.state == f"TASK_{n.upper()}" for t in live)) for n in _ACTIVE
    }
    everyone = [*master.frameworks.values(), *master.completed]
    for name in _TERMINAL:
        counted = sum(f.counters.get(f"tasks/task_{name}", 0) for f in everyone)
        result[f"master/tasks_{name}"] = float(counted)
    return result


def _framework(framework: Framework) -> dict[str, float]:
    counted = framework.counters
    result = {f"calls/{c}": counted.get(f"calls/{c}", 0) for c in _CALLS}
    result["calls"] = sum(result.values())
    events = {f"events/{e}": counted.get(f"events/{e}", 0) for e in _EVENTS}
    result |= events | {"events": sum(events.values())}
    operations = {f"operations/{o}": counted.get(f"operations/{o}", 0) for o in _OPERATIONS}
    result |= operations | {"operations": sum(operations.values())}
    result |= {
        f"offers/{o}": counted.get(f"offers/{o}", 0)
        for o in ("accepted", "declined", "rescinded", "sent")
    }
    result |= {f"tasks/terminal/task_{n}": counted.get(f"tasks/task_{n}", 0) for n in _TERMINAL}
    tasks = [*framework.tasks.values(), *framework.unreachable.values()]
    for name in _ACTIVE:
        result[f"tasks/active/task_{name}"] = sum(t.state == f"TASK_{name.upper()}" for t in tasks)
    for role in framework.roles:
        result[f"roles/{role}/suppressed"] = int(role in framework.suppressed)
    result["subscribed"] = int(framework.connected)
    prefix = f"master/frameworks/{framework.info['name']}/{framework.id}"
    return {f"{prefix}/{name}": float(value) for name, value in result.items()}
