"""POST /api/v1: what the operator APIs of master and agents have in common."""

from __future__ import annotations

import logging
from typing import Any

from framework.local.build import build_info
from framework.local.http import Answer, MesosHandler
from framework.local.protobuf import Malformed, convert, parse_json

Json = dict[str, Any]


class OperatorHandler(MesosHandler):
    """Reads an operator call; what it means is up to :meth:`answer`."""

    allow = ("POST",)
    owner = "agent"

    def read(self) -> Json:
        """Returns the call; raises 400 and 415 (``operator/master.v1.*``)."""
        self.require_json()
        try:
            call = convert(parse_json(self.request.body), "OperatorCall")
        except Malformed as error:
            raise Answer(400, str(error)) from None
        if "type" not in call:
            raise Answer(400, f"Failed to validate {self.owner}::Call: Expecting 'type' to be present")
        return call

    def post(self) -> None:
        call = self.read()
        self.require_accept_json()
        body = self.answer(call)
        kind = call["type"]
        self.reply_json({"type": kind} if body is None else {"type": kind, kind.lower(): body})

    def answer(self, call: Json) -> Json | None:
        """Returns the body of the answer, None for none; raises :class:`Answer` for other statuses."""
        raise NotImplementedError

    def common(self, kind: str, flags: dict[str, str], metrics: dict[str, float]) -> Json | None:
        """Answers what master and agents answer alike; raises 501 for anything else."""
        if kind == "GET_HEALTH":
            return {"healthy": True}
        if kind == "GET_VERSION":
            return {"version_info": build_info()}
        if kind == "GET_FLAGS":
            return {"flags": [{"name": n, "value": v} for n, v in sorted(flags.items())]}
        if kind == "GET_METRICS":
            return {"metrics": [{"name": n, "value": v} for n, v in sorted(metrics.items())]}
        if kind == "GET_LOGGING_LEVEL":
            return {"level": 0 if logging.getLogger().level >= logging.INFO else 1}
        raise Answer(501, "501 Not Implemented.")
