"""Reading in a worker: the same results and errors, and an end to what does not end."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.model.errors import Invalid, TooLarge
from gateway.jobs import Limits, read_jobs
from gateway.jobs.sandbox import JobReader, evaluation_workers
from gateway.workers import WorkerProcesses
from tests.gateway.jobs import texts
from tests.gateway.test_workers import wait_for, worker_pid


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerProcesses]:
    with evaluation_workers(2) as pool:
        yield pool


def test_a_worker_reads_what_we_would_read(workers: WorkerProcesses) -> None:
    reader = JobReader(workers)
    for text in texts.ALL.values():
        jobs = reader.read(text.encode(), "vagrant", {"tag": "v7"})
        assert jobs == read_jobs(text.encode(), user="vagrant", bindings={"tag": "v7"})


def test_refused_jobs_and_problems_come_back(workers: WorkerProcesses, shared: Path) -> None:
    reader = JobReader(workers)
    jobs = reader.read((shared / "data/aurora-jobs/hello_docker_engine.aurora").read_bytes(), "u")
    assert [job.key.rpartition("/")[2] for job in jobs.refused] == ["hello_docker_engine_binding"]
    with pytest.raises(Invalid) as caught:
        reader.read(b"jobs = [\n  Job(nam='x', instances='y')]", "u")
    assert caught.value.messages == (
        "line 2, column 7: Job has no field 'nam'; did you mean 'name'?",
        "line 2, column 16: instances: expects an integer, not 'y'",
    )


def test_too_large_never_reaches_a_worker(workers: WorkerProcesses) -> None:
    with pytest.raises(TooLarge, match="at most 262144"):
        JobReader(workers).read(b"#" * 300_000, "u")


def test_a_configuration_that_takes_too_long_is_invalid(workers: WorkerProcesses) -> None:
    endless = Limits(seconds=0.3, steps=10**9, total_chars=10**12)
    with pytest.raises(Invalid, match=r"longer than 0.3 seconds to evaluate"):
        JobReader(workers, endless).read(
            b"for a in range(9999):\n  for b in range(9999):\n    x = a * b", "u"
        )
    assert JobReader(workers).read(texts.LOOP.encode(), "vagrant")


def test_a_configuration_that_takes_too_much_memory_is_invalid() -> None:
    greedy = Limits(memory_bytes=64 << 20, total_chars=10**12, text_chars=10**9, steps=10**9)
    with evaluation_workers(1, greedy) as pool:
        with pytest.raises(Invalid, match="memory"):
            JobReader(pool, greedy).read(b"x = []\nfor i in range(99): x.append('a' * 9999999)", "u")
        assert JobReader(pool).read(texts.LOOP.encode(), "vagrant")


def test_a_worker_killed_meanwhile_is_replaced_and_asked_again() -> None:
    with evaluation_workers(1) as pool:
        pid = pool.run(worker_pid, timeout=30)
        os.kill(pid, signal.SIGSTOP)  # so that it cannot be through before it is killed
        text, results = texts.LOOP.encode(), list[int]()
        thread = threading.Thread(
            target=lambda: results.append(len(JobReader(pool, Limits(seconds=30)).read(text, "vagrant")))
        )
        thread.start()
        wait_for(lambda: bool(pool._busy))
        os.kill(pid, signal.SIGKILL)
        thread.join(60)
        assert results == [5]
        assert pool.run(worker_pid, timeout=30) != pid


@pytest.mark.alone
def test_a_warm_read_takes_milliseconds(workers: WorkerProcesses, shared: Path) -> None:
    source = (shared / "data/aurora-jobs/hello_world.aurora").read_bytes()
    reader = JobReader(workers)
    reader.read(source, "vagrant")
    times = []
    for _ in range(30):
        started = time.perf_counter()
        reader.read(source, "vagrant")
        times.append(time.perf_counter() - started)
    # 3 ms on an idle machine; the bound is for one that others use too
    assert statistics.median(times) < 0.05
