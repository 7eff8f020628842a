"""An agent's operator endpoints: /state, /flags, /containers …, POST /api/v1 (``operator/agent.*``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from framework.local import agent_json, files_api
from framework.local.agent import Agent
from framework.local.build import build_info
from framework.local.http import Answer, MesosHandler
from framework.local.operator_calls import OperatorHandler

Json = dict[str, Any]


class AgentHandler(MesosHandler):
    """An endpoint whose answer is a function of the agent."""

    def initialize(self, agent: Agent, view: Any) -> None:
        self.agent = agent
        self.view = view

    def get(self) -> None:
        self.reply_json(self.view(self.agent))


class Health(MesosHandler):
    """Answers 200 without a body."""

    def get(self) -> None:
        self.set_status(200)


class AgentOperator(OperatorHandler):
    """POST /api/v1 of an agent."""

    def initialize(self, agent: Agent) -> None:
        self.agent = agent

    def answer(self, call: Json) -> Json | None:
        agent, kind = self.agent, call["type"]
        views: dict[str, Callable[[], Json]] = {
            "GET_AGENT": lambda: {"agent_info": agent.info},
            "GET_CONTAINERS": lambda: agent_json.get_containers(agent),
            "GET_EXECUTORS": lambda: agent_json.get_executors(agent),
            "GET_FRAMEWORKS": lambda: agent_json.get_frameworks(agent),
            "GET_TASKS": lambda: agent_json.get_tasks(agent),
            "GET_STATE": lambda: {
                "get_tasks": agent_json.get_tasks(agent),
                "get_executors": agent_json.get_executors(agent),
                "get_frameworks": agent_json.get_frameworks(agent),
            },
            "GET_OPERATIONS": dict,
            "LIST_FILES": lambda: self._list_files(call),
            "READ_FILE": lambda: self._read_file(call),
        }
        if kind in views:
            return views[kind]()
        return self.common(kind, agent_json.flags(agent), agent_json.metrics(agent))

    def _list_files(self, call: Json) -> Json:
        path = files_api.resolve(self.agent, call.get("list_files", {}).get("path", ""))
        if path is None or not path.is_dir():
            raise Answer(404)
        infos = []
        for item in files_api.listing(path):
            info = {"path": item["path"], "nlink": item["nlink"], "size": item["size"]}
            infos.append(
                info
                | {
                    "mtime": {"nanoseconds": int(item["mtime"] * 1e9)},
                    "uid": item["uid"],
                    "gid": item["gid"],
                }
            )
        return {"file_infos": infos}

    def _read_file(self, call: Json) -> Json:
        body = call.get("read_file", {})
        path = files_api.resolve(self.agent, body.get("path", ""))
        if path is None or not path.is_file():
            raise Answer(404)
        return agent_json.read_file(path, body["offset"], body.get("length"))


def routes(agent: Agent) -> list[Any]:
    """Returns the agent's routes, each also under ``/slave(1)``."""
    views = {
        "/state": agent_json.state,
        "/flags": lambda a: {"flags": agent_json.flags(a)},
        "/containers": agent_json.containers,
        "/monitor/statistics": agent_json.statistics,
        "/metrics/snapshot": agent_json.metrics,
        "/version": lambda _: build_info(),
    }
    plain = {"agent": agent}
    result: list[Any] = [
        (rf"(?:/slave\(1\))?{path}", AgentHandler, {"agent": agent, "view": view})
        for path, view in views.items()
    ]
    result += [
        (r"(?:/slave\(1\))?/health", Health),
        (r"/files/browse", files_api.Browse, plain),
        (r"/files/read", files_api.Read, plain),
        (r"/files/download", files_api.Download, plain),
        (r"(?:/slave\(1\))?/api/v1(?:/.*)?", AgentOperator, plain),
    ]
    return result
