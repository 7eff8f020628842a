"""The master's operator endpoints: /state, /slaves, /teardown …, POST /api/v1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from framework.local import durations, metrics, operator_json, state_json
from framework.local.build import build_info
from framework.local.http import Answer
from framework.local.master import Master
from framework.local.operator_calls import OperatorHandler
from framework.local.protobuf import Malformed, convert, parse_json
from framework.local.recordio import EventStream
from framework.local.scheduler_api import LeaderHandler, SchedulerHandler

Json = dict[str, Any]
_NOT_FOUND = "No framework found with specified ID"


def flags(master: Master) -> dict[str, str]:
    """The flags that have a meaning here, by Mesos's names."""
    config, times = master.config, master.config.times
    return {
        "advertise_ip": config.address,
        "agent_ping_timeout": durations.show(times.agent_ping_timeout),
        "agent_reregister_timeout": durations.show(times.agent_reregister_timeout),
        "allocation_interval": durations.show(times.allocation_interval),
        "allocator": "hierarchical",
        "authenticate_http_frameworks": "false" if config.credentials is None else "true",
        "filter_gpu_resources": "true",
        "hostname": config.address,
        "ip": config.address,
        "max_agent_ping_timeouts": str(times.max_agent_ping_timeouts),
        "min_allocatable_resources": "cpus:0.01|mem:32",
        "port": str(master.port),
        "registry": "file",
        "work_dir": config.work_dir,
    }


class View(LeaderHandler):
    """An endpoint whose answer is a function of the master and the query."""

    def initialize(
        self,
        master: Master,
        path: str = "",
        view: Callable[[Master, dict[str, str]], Any] = lambda _master, _query: {},
    ) -> None:
        super().initialize(master)
        self._path, self._view = path, view

    def get(self) -> None:
        self.require_leader("/master" + self._path)
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            self.reply_json(self._view(self.master, query))
        except ValueError as error:
            raise Answer(400, f"Failed to parse the query: {error}") from None


class Anyone(LeaderHandler):
    """An endpoint that every master answers, leader or not."""

    def initialize(self, master: Master, view: Callable[[Master], Any] = lambda _master: None) -> None:
        super().initialize(master)
        self._view = view

    def get(self) -> None:
        body = self._view(self.master)
        if body is None:
            self.set_status(200)
        else:
            self.reply_json(body)


class Redirect(LeaderHandler):
    """/redirect: 307 to the leader, here without a path (raw-bytes.txt)."""

    def get(self) -> None:
        self.require_leader("")
        raise Answer(307, headers={"Location": f"//{self.master.config.address}:{self.master.port}"})


class Teardown(LeaderHandler):
    """POST /teardown with ``frameworkId=…``."""

    allow = ("POST",)

    def post(self) -> None:
        self.require_leader("/master/teardown")
        given = parse_qs(self.request.body.decode("utf-8", "replace")).get("frameworkId")
        if not given:
            raise Answer(400, "Missing 'frameworkId' query parameter in the request body")
        teardown(self.master, given[0])


def teardown(master: Master, framework_id: str) -> None:
    """Removes a framework; raises 400 if there is none of that id."""
    framework = master.frameworks.get(framework_id)
    if framework is None:
        raise Answer(400, _NOT_FOUND)
    master.remove_framework(framework)


class Schedule(LeaderHandler):
    """GET and POST /maintenance/schedule (33)."""

    allow = ("GET", "POST")

    def get(self) -> None:
        self.require_leader("/master/maintenance/schedule")
        self.reply_json(self.master.maintenance.schedule)

    def post(self) -> None:
        self.require_leader("/master/maintenance/schedule")
        try:
            schedule = convert(parse_json(self.request.body), "Schedule", "Schedule")
        except Malformed as error:
            raise Answer(400, str(error)) from None
        self.master.set_schedule(schedule if schedule.get("windows") else {})


class Operator(OperatorHandler, LeaderHandler):
    """POST /api/v1 of the master."""

    owner = "master"

    def post(self) -> None:
        self.require_leader("/master/api/v1")
        call = self.read()
        if call["type"] == "SUBSCRIBE":
            self.require_accept_json()
            self._subscribe()
        else:
            super().post()

    def _subscribe(self) -> None:
        """The event stream of the cluster (24)."""
        stream = EventStream(self.detach(), self.master.watchers.discard)
        stream.open({})
        body = {"get_state": operator_json.get_state(self.master)}
        interval = float(self.master.config.times.heartbeat)
        stream.send(
            {"type": "SUBSCRIBED", "subscribed": {**body, "heartbeat_interval_seconds": interval}}
        )
        self.master.watchers.add(stream)
        stream.heartbeats(interval, at_once=True)

    def answer(self, call: Json) -> Json | None:
        master, kind = self.master, call["type"]
        views: dict[str, Callable[[], Json | None]] = {
            "GET_STATE": lambda: operator_json.get_state(master),
            "GET_AGENTS": lambda: operator_json.get_agents(master),
            "GET_FRAMEWORKS": lambda: operator_json.get_frameworks(master),
            "GET_EXECUTORS": lambda: operator_json.get_executors(master),
            "GET_TASKS": lambda: operator_json.get_tasks(master),
            "GET_ROLES": lambda: operator_json.get_roles(master),
            "GET_MASTER": lambda: {
                "master_info": master.info,
                "start_time": master.start_time,
                "elected_time": master.start_time,
            },
            "GET_OPERATIONS": dict,
            "GET_WEIGHTS": lambda: None,
            "GET_QUOTA": lambda: {"status": {}},
            "GET_MAINTENANCE_SCHEDULE": lambda: {"schedule": master.maintenance.schedule},
            "GET_MAINTENANCE_STATUS": lambda: {"status": {}},
        }
        if kind in views:
            return views[kind]()
        if kind == "TEARDOWN":
            teardown(master, call["teardown"]["framework_id"]["value"])
            raise Answer(200)
        if kind == "UPDATE_MAINTENANCE_SCHEDULE":
            master.set_schedule(call["update_maintenance_schedule"]["schedule"])
            raise Answer(200)
        if kind in {"LIST_FILES", "READ_FILE"}:
            raise Answer(404)  # the master serves no files
        return self.common(kind, flags(master), metrics.snapshot(master))


def routes(master: Master) -> list[Any]:
    """Returns the master's routes, most of them also under ``/master``."""
    views: dict[str, Callable[[Master, dict[str, str]], Any]] = {
        "/state": lambda m, _: state_json.state(m, flags(m)),
        "/state-summary": lambda m, _: state_json.state_summary(m),
        "/slaves": lambda m, q: state_json.slaves(m, q.get("slave_id")),
        "/frameworks": lambda m, q: state_json.frameworks(m, q.get("framework_id")),
        "/tasks": state_json.tasks,
        "/roles": lambda m, _: state_json.roles(m),
        "/quota": lambda m, _: {},
        "/weights": lambda m, _: [],
    }
    anyone: dict[str, Callable[[Master], Any]] = {
        "/health": lambda m: None,
        "/version": lambda m: build_info(),
        "/flags": lambda m: {"flags": flags(m)},
        "/metrics/snapshot": metrics.snapshot,
    }
    result: list[Any] = [
        (r"(?:/master)?/api/v1/scheduler", SchedulerHandler, {"master": master}),
        (r"(?:/master)?/api/v1(?:/.*)?", Operator, {"master": master}),
        (r"(?:/master)?/redirect", Redirect, {"master": master}),
        (r"(?:/master)?/teardown", Teardown, {"master": master}),
        (r"(?:/master)?/maintenance/schedule", Schedule, {"master": master}),
    ]
    for path, view in views.items():
        about = {"master": master, "path": path, "view": view}
        result.append((rf"(?:/master)?{path}", View, about))
    for path, answer in anyone.items():
        result.append((rf"(?:/master)?{path}", Anyone, {"master": master, "view": answer}))
    return result
