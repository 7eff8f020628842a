"""What is stored is read by many threads at once, from the first moment of a process on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from gateway.store import Store
from tests.gateway.dataprocessing.samples import a_cluster

store = Store(sys.argv[1])
cluster = store.clusters.create(a_cluster())
start = threading.Barrier(8)

def read():
    start.wait()
    for _ in range(20):
        assert store.clusters.get(cluster.cluster_id) == cluster

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("number", range(2))
def test_many_threads_read_the_first_cluster(tmp_path: Path, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "state.db")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
