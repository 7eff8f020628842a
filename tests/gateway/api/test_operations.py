"""The dashboard, the alerts and the table of metrics name what /metrics has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.gateway.api.conftest import JOB, Client, config

DOCS = Path(__file__).parents[3] / "docs" / "operations"
NAME = re.compile(r"\bmesos_gateway_[a-z_]+\b")
# Those that only the process as a whole has: its pool's gauges are given to it at the start.
OF_THE_PROCESS = {
    "mesos_gateway_requests_running",
    "mesos_gateway_requests_waiting",
    "mesos_gateway_streams",
    "mesos_gateway_clusters_registered",
    # With --ha; tests/faults/test_failover.py reads them.
    "mesos_gateway_leader",
    "mesos_gateway_leader_known",
    "mesos_gateway_terms",
    "mesos_gateway_requests_forwarded",
}


def dashboard() -> set[str]:
    document = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    return {
        name for panel in panels for target in panel["targets"] for name in NAME.findall(target["expr"])
    }


def alerts() -> set[str]:
    document = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
    return {name for rule in rules for name in NAME.findall(rule["expr"])}


@pytest.mark.gen_test(timeout=120)
async def test_every_metric_that_is_named_is_there(client: Client) -> None:
    assert (await client("PUT", JOB, config())).code == 201
    text = (await client("GET", "/metrics")).body.decode()
    present = set(re.findall(r"^(mesos_gateway_[a-z_]+)", text, re.MULTILINE)) | OF_THE_PROCESS
    for name in dashboard() | alerts():
        assert name in present, name
    documented = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for name in NAME.findall(documented):
        assert any(known.startswith(name) for known in present), name


def test_the_alert_asks_whether_the_one_that_leads_is_ready() -> None:
    """A standby says that it is ready when it knows who leads, which may be one that cannot act."""
    document = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))
    rules = {rule["alert"]: rule["expr"] for group in document["groups"] for rule in group["rules"]}
    assert rules["GatewayNotReady"] == (
        "max(mesos_gateway_ready unless on (instance) mesos_gateway_leader == 0) == 0 "
        "or max(mesos_gateway_leader) == 0"
    )
