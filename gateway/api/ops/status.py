"""How the gateway is: /health for people and load balancers, /metrics for Prometheus."""

from __future__ import annotations

from gateway import standby
from gateway.api.alpha import bodies
from gateway.api.http import Answer, Call, Route
from gateway.context import VERSION
from gateway.metrics import CONTENT_TYPE


async def health(call: Call) -> Answer:
    """200 when ready, 503 with the problems when not; ``?live``: 200 as long as anybody answers.

    Where users are asked who they are, only they are told more than that.
    """
    if call.query.flag("live"):
        return Answer({"status": "success", "live": True, "version": VERSION})
    state = call.gateway.operations.registry.health()
    status = 200 if state["ready"] else 503
    body = {
        "status": "success" if state["ready"] else "failure",
        "ready": state["ready"],
        "version": VERSION,
    }
    if not call.gateway.access.tells(call.caller):
        return Answer(body, status=status)
    body |= {"problems": state["problems"], "clusters": state["clusters"]}
    warnings = [*state["warnings"], *call.gateway.problems()]
    if warnings:
        body["warnings"] = warnings
    if call.gateway.replica is not None:
        body["replica"] = standby.describe(call.gateway.replica)
    return Answer(body, status=status)


async def metrics(call: Call) -> Answer:
    return Answer(call.gateway.metrics.text(), content_type=CONTENT_TYPE)


ROUTES = (
    Route(
        "GET",
        "/health",
        health,
        "Ready, or why not",
        bodies.failed,
        query=("live",),
        kind="open",
        local=True,
        answers=((200, "HealthOrLive"), (503, "Health")),
    ),
    Route(
        "GET",
        "/metrics",
        metrics,
        "Numbers for Prometheus",
        bodies.failed,
        kind="metrics",
        local=True,
        answers=((200, "text/plain"),),
    ),
)
