"""A cluster in miniature on loopback: offers, launches, updates, reconciliation, over real HTTP."""

from __future__ import annotations

import base64
import threading
from typing import Any

from tests.framework.mesos.peer import Master, Request


class Cluster(Master):
    """One agent with plenty; a task that is launched runs until it is killed.

    ``launched`` has every task id in the order of the ACCEPTs, ``running`` those alive.
    An update is sent again at each subscription until it is acknowledged, as an agent does;
    ``one_by_one``: the next only then.
    """

    def __init__(self, port: int = 0, one_by_one: bool = False) -> None:
        self._one_by_one = one_by_one
        self.launched: list[str] = []
        self.running: dict[str, dict[str, Any]] = {}
        self.killed: list[str] = []
        self.acknowledged: list[str] = []
        self.pending: dict[str, dict[str, Any]] = {}
        self._offers = 0
        self._offered: set[str] = set()
        self._lock = threading.RLock()
        super().__init__(port)
        self.subscribe = self._on_subscribe
        self.call = self._on_call

    def instances(self) -> list[str]:
        """The names of the running tasks, one for each instance that runs."""
        with self._lock:
            return sorted(info["labels"]["labels"][1]["value"] for info in self.running.values())

    def names(self) -> set[str]:
        """The names of the jobs that have a running task."""
        with self._lock:
            return {info["name"].rpartition("/")[2] for info in self.running.values()}

    def _on_subscribe(self, request: Request) -> bool:
        with self._lock:
            self.accept_subscription(request)
            self._offered.clear()
            self._send_pending(request.connection)
            self._offer(request.connection)
        return True

    def _on_call(self, request: Request) -> bool:
        with self._lock:
            stream = self.subscriptions[-1].connection
            call = request.json
            match request.kind:
                case "ACCEPT":
                    self._launch(call["accept"], stream)
                case "DECLINE":
                    self._offered -= {one["value"] for one in call["decline"]["offer_ids"]}
                case "REVIVE":
                    self._offer(stream)
                case "KILL":
                    self._kill(call["kill"]["task_id"]["value"], stream)
                case "ACKNOWLEDGE":
                    self.acknowledged.append(call["acknowledge"]["task_id"]["value"])
                    self.pending.pop(call["acknowledge"]["uuid"], None)
                    if self._one_by_one:
                        self._send_pending(stream)
                case "RECONCILE":
                    self._reconcile(call["reconcile"]["tasks"], stream)
        return False

    def _offer(self, stream: Any) -> None:
        if self._offered:
            return
        self._offers += 1
        offer_id = f"o-{self._offers}"
        self._offered.add(offer_id)
        amounts = {"cpus": 100.0, "mem": 100_000.0, "disk": 100_000.0}
        resources: list[dict[str, Any]] = [
            {"name": name, "type": "SCALAR", "scalar": {"value": value}, "role": "*"}
            for name, value in amounts.items()
        ]
        ports = {"range": [{"begin": 31000, "end": 31999}]}
        resources.append({"name": "ports", "type": "RANGES", "ranges": ports, "role": "*"})
        offer = {
            "id": {"value": offer_id},
            "agent_id": {"value": "a-1"},
            "hostname": "agent.example",
            "resources": resources,
        }
        stream.event({"type": "OFFERS", "offers": {"offers": [offer]}})

    def _launch(self, accept: dict[str, Any], stream: Any) -> None:
        ids = {one["value"] for one in accept["offer_ids"]}
        valid = ids <= self._offered
        self._offered -= ids
        for info in accept["operations"][0]["launch"]["task_infos"]:
            task_id = info["task_id"]["value"]
            if valid:
                self.launched.append(task_id)
                self.running[task_id] = info
                self.update(task_id, "TASK_RUNNING", stream)
            else:
                self._tell(task_id, "TASK_LOST", "REASON_INVALID_OFFERS", stream)

    def _kill(self, task_id: str, stream: Any) -> None:
        if task_id in self.running:
            del self.running[task_id]
            self.killed.append(task_id)
            self.update(task_id, "TASK_KILLED", stream)

    def _reconcile(self, tasks: list[dict[str, Any]], stream: Any) -> None:
        ids = [task["task_id"]["value"] for task in tasks] or list(self.running)
        for task_id in ids:
            state = "TASK_RUNNING" if task_id in self.running else "TASK_UNKNOWN"
            self._tell(task_id, state, "REASON_RECONCILIATION", stream)

    def update(self, task_id: str, state: str, stream: Any = None, data: bytes = b"") -> None:
        """An update of the executor, to be acknowledged."""
        with self._lock:
            uuid = base64.b64encode(f"{task_id}{state}".encode() + data[-20:]).decode()
            status = {
                "task_id": {"value": task_id},
                "agent_id": {"value": "a-1"},
                "state": state,
                "source": "SOURCE_EXECUTOR",
                "uuid": uuid,
            }
            if data:
                status["data"] = base64.b64encode(data).decode()
            self.pending[uuid] = status
            target = stream or self.subscriptions[-1].connection
            if not self._one_by_one or len(self.pending) == 1:
                target.event({"type": "UPDATE", "update": {"status": status}})

    def _send_pending(self, stream: Any) -> None:
        pending = list(self.pending.values())
        for status in pending[:1] if self._one_by_one else pending:
            stream.event({"type": "UPDATE", "update": {"status": status}})

    def _tell(self, task_id: str, state: str, reason: str, stream: Any) -> None:
        status = {
            "task_id": {"value": task_id},
            "agent_id": {"value": "a-1"},
            "state": state,
            "source": "SOURCE_MASTER",
            "reason": reason,
        }
        stream.event({"type": "UPDATE", "update": {"status": status}})
