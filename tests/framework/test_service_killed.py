"""kill -9 of the scheduler between any two of its steps loses nothing and starts nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.core.messages import Snapshot
from framework.model.tasks import TaskState
from framework.storage import Storage
from tests.framework.cluster import Cluster
from tests.framework.mesos.peer import eventually

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(one_by_one=True)
    yield cluster
    cluster.close()


def start(cluster: Cluster, state: Path, point: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.framework.victim", cluster.address, str(state), point],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def load(state: Path) -> Snapshot:
    storage = Storage(str(state))
    try:
        return storage.load()
    finally:
        storage.close()


# Registration, creation, assignment, and the updates of three tasks take about six of each.
POINTS = [
    f"{place}:{n}" for place in ("before-commit", "after-commit", "after-perform") for n in (1, 2, 3, 4)
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_started_again(cluster: Cluster, tmp_path: Path, point: str) -> None:
    state = tmp_path / "state.db"
    with start(cluster, state, point) as victim:
        victim.wait(120)  # its stdin stays open: it does not end by itself
        assert victim.stdout is not None
        promised = "created" in victim.stdout.read()
    assert victim.returncode == -signal.SIGKILL
    known_as, before = load(state).framework_id, len(cluster.subscriptions)

    with start(cluster, state, "never") as successor:
        assert successor.stdout is not None
        answer = successor.stdout.readline().strip()
        if promised:
            assert answer == "there"
        eventually(lambda: len(cluster.subscriptions) > before, 60)
        eventually(lambda: cluster.instances() == ["0", "1", "2"] and not cluster.pending, 60)
        successor.communicate("", timeout=60)
    assert successor.returncode == 0

    # Three instances, each launched once and only once, and the record says so.
    assert len(cluster.launched) == len(set(cluster.launched)) == 3
    assert cluster.killed == []
    tasks = load(state).tasks
    active = {task.task_id: task.instance for task in tasks if task.is_active}
    assert set(active) == set(cluster.launched)
    assert sorted(active.values()) == [0, 1, 2]
    assert {task.state for task in tasks if task.is_active} == {TaskState.RUNNING}
    assert cluster.calls("TEARDOWN") == []
    # The framework that Mesos knew before is the one that came back, as soon as its id was durable.
    again = cluster.subscriptions[before].json
    assert again.get("framework_id", {}).get("value") == known_as
