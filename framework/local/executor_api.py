"""POST /api/v1/executor of an agent: subscriptions and calls of executors (recording 18)."""

from __future__ import annotations

import logging
from typing import Any

from framework.local import validation
from framework.local.agent import Agent
from framework.local.http import Answer, MesosHandler
from framework.local.protobuf import Malformed, convert, parse_json
from framework.local.recordio import EventStream
from framework.local.runs import Run

log = logging.getLogger(__name__)

Json = dict[str, Any]


class ExecutorHandler(MesosHandler):
    """One executor call."""

    allow = ("POST",)

    def initialize(self, agent: Agent) -> None:
        self.agent = agent

    def post(self) -> None:
        self.require_json()
        call = self._read()
        run = self._run(call)
        kind = call["type"]
        if kind == "SUBSCRIBE":
            self._subscribe(run, call)
            return
        if kind == "UPDATE":
            self.agent.reports.update(run, call["update"]["status"])
        elif kind == "MESSAGE":
            self.agent.executor_message(run, call["message"]["data"])
        elif kind != "HEARTBEAT":
            raise Answer(501, "501 Not Implemented.")
        self.set_status(202)

    def _read(self) -> Json:
        try:
            call = convert(parse_json(self.request.body), "ExecutorCall")
        except Malformed as error:
            raise Answer(400, str(error)) from None
        if problem := validation.executor_call(call):
            raise Answer(400, f"Failed to validate Executor::Call: {problem}")
        return call

    def _run(self, call: Json) -> Run:
        framework_id, executor_id = call["framework_id"]["value"], call["executor_id"]["value"]
        framework = self.agent.frameworks.get(framework_id)
        if framework is None:
            raise Answer(400, "Framework cannot be found")
        run = framework.runs.get(executor_id)
        if run is None:
            raise Answer(400, "Executor cannot be found")
        return run

    def _subscribe(self, run: Run, call: Json) -> None:
        self.require_accept_json()
        stream = EventStream(self.detach(), lambda ended: self.agent.stream_closed(run, ended))
        stream.open({})
        stream.heartbeats(self.agent.config.times.executor_heartbeat, at_once=False)
        self.agent.subscribe(run, stream, call["subscribe"])
