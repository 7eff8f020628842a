"""Contract: the recorded scenarios of a real Mesos 1.11, played against the local one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.framework.local.clusters import Cluster
from tests.framework.local.conftest import start_cluster
from tests.framework.local.replay import Replay, launch

__all__ = ["start_cluster"]
Start = Callable[..., Cluster]

# Scenarios that need nothing but the requests which the recordings leave out.
PLAIN: dict[str, list[Callable[[Replay], dict]]] = {
    "01-subscribe-heartbeat": [],
    "02-launch-finish": [launch("s02-t1", executor_id="s02-e"), launch("s02-t2", executor_id="s02-e")],
    "03-kill": [launch("s03-t1", executor_id="s03-e")],
    "04-reconcile": [launch("s04-t1", executor_id="s04-e")],
    "05-decline-revive-suppress": [],
    "06-messages": [launch("s06-t1", executor_id="s06-e")],
    "08-failover": [launch("s08-t1", executor_id="s08-e")],
    "09-takeover": [],
    "12-removed-framework": [],
    "14-command-task": [],
    "17-scheduler-errors": [],
    "18-executor-errors": [launch("s18-t1", executor_id="s18-e")],
    "21-exception-in-callback": [],
    "26-bad-call-in-callback": [],
    "28-master-down-at-start": [],
    "31-multi-role": [launch("s31-t1", executor_id="s31-e")],
    "32-launch-group": [launch("s32-t1", "s32-t2", executor_id="s32-e", group=True)],
    "33-maintenance": [],
    "35-kill-before-executor-is-up": [launch("s35-t1", executor_id="s35-e")],
    "36-reconnect-within-failover-timeout": [],
    "38-hung-master": [],
}


def replay(shared: Path, name: str, cluster: Cluster, **more: object) -> Replay:
    return Replay(
        shared / "data" / "mesos-v1" / f"{name}.jsonl",
        cluster.address,
        cluster.agent_address,
        cluster.sandbox,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", PLAIN)
def test_a_scenario_goes_as_recorded(shared: Path, start_cluster: Start, name: str) -> None:
    cluster = start_cluster(1, "--heartbeat-interval=0.5")
    replay(shared, name, cluster, accepts=PLAIN[name]).run()


del signal
