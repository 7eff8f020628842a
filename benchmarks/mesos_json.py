"""What a Mesos master sends, as recordings of Mesos 1.11 show it: offers, status updates."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

FRAMEWORK = "5a2d7e0c-bench-0000"
RACKS = 20


class Agents(msgspec.Struct, frozen=True):
    """``count`` agents alike, over RACKS racks. ``padding``: further attributes, to the size of an
    offer of a large cluster (about 1,000 bytes)."""

    count: int
    cpus: float = 8.0
    mem: float = 16384.0
    disk: float = 65536.0
    ports: int = 1000
    padding: int = 0


def agent_id(number: int) -> str:
    return f"5a2d7e0c-bench-S{number}"


def offer(agents: Agents, number: int, serial: int | None = None) -> dict[str, Any]:
    """Returns the offer of agent ``number``, whole; ``serial`` tells it from others of the agent."""
    hostname = f"agent-{number}.example"
    texts = [("rack", f"r{number % RACKS}"), ("zone", f"z{number % 3}")]
    texts += [(f"attribute-{i}", f"value-{i}-of-{hostname}") for i in range(agents.padding)]
    return {
        "id": {"value": f"5a2d7e0c-bench-O{number if serial is None else f'{number}-{serial}'}"},
        "framework_id": {"value": FRAMEWORK},
        "agent_id": {"value": agent_id(number)},
        "hostname": hostname,
        "url": {
            "scheme": "http",
            "address": {"hostname": hostname, "ip": "10.0.0.1", "port": 5051},
            "path": "/slave(1)",
        },
        "resources": [
            {
                "name": "ports",
                "type": "RANGES",
                "ranges": {"range": [{"begin": 31000, "end": 30999 + agents.ports}]},
                "role": "*",
            },
            _scalar("cpus", agents.cpus),
            _scalar("mem", agents.mem),
            _scalar("disk", agents.disk),
        ],
        "attributes": [
            {"name": name, "type": "TEXT", "text": {"value": value}} for name, value in texts
        ],
    }


def _scalar(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, "role": "*"}


def offers_event(agents: Agents, first: int, count: int) -> bytes:
    """Returns an OFFERS event with the offers of ``count`` agents from ``first`` on."""
    return event_of([offer(agents, number) for number in range(first, first + count)])


def event_of(offers: Sequence[dict[str, Any]]) -> bytes:
    """Returns the OFFERS event of these offers."""
    return msgspec.json.encode({"type": "OFFERS", "offers": {"offers": offers}})


def update_event(task_id: str, agent: str, state: str, number: int) -> bytes:
    """Returns an UPDATE of an executor, to be acknowledged; ``number`` makes its uuid."""
    uuid = base64.b64encode(number.to_bytes(16, "big")).decode()
    status = {
        "task_id": {"value": task_id},
        "state": state,
        "agent_id": {"value": agent},
        "executor_id": {"value": "mesos-gateway"},
        "source": "SOURCE_EXECUTOR",
        "timestamp": 1_700_000_000.0,
        "uuid": uuid,
    }
    return msgspec.json.encode({"type": "UPDATE", "update": {"status": status}})


def reconciled_event(task_id: str, agent: str) -> bytes:
    """Returns the master's answer to a RECONCILE for a task that runs."""
    status = {
        "task_id": {"value": task_id},
        "state": "TASK_RUNNING",
        "agent_id": {"value": agent},
        "source": "SOURCE_MASTER",
        "reason": "REASON_RECONCILIATION",
        "message": "Reconciliation: Latest task state",
        "timestamp": 1_700_000_000.0,
    }
    return msgspec.json.encode({"type": "UPDATE", "update": {"status": status}})


def subscribed_event() -> bytes:
    return msgspec.json.encode(
        {
            "type": "SUBSCRIBED",
            "subscribed": {
                "framework_id": {"value": FRAMEWORK},
                "heartbeat_interval_seconds": 15.0,
                "master_info": {"address": {"hostname": "master", "ip": "127.0.0.1", "port": 5050}},
            },
        }
    )


def record(event: bytes) -> bytes:
    """Returns an event as a RecordIO record in one HTTP chunk, as libprocess sends it."""
    framed = b"%d\n%s" % (len(event), event)
    return b"%x\r\n%s\r\n" % (len(framed), framed)
