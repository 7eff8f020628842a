"""Worker processes: results and errors travel, limits hold, deaths heal, nothing stays behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framework.model.errors import Invalid, Unavailable
from gateway.workers import WorkerDied, WorkerMemory, WorkerProcesses, WorkerTimedOut
from tests.e2e.harness import children

ROOT = Path(__file__).resolve().parents[2]


# -- what runs in the workers ----------------------------------------------------------------------


def worker_pid() -> int:
    return os.getpid()


def add(a: int, b: int) -> int:
    return a + b


def refuse(*messages: str) -> None:
    raise Invalid(*messages)


def retry_later() -> None:
    raise Unavailable("not now", retry_after=7)


class Awkward(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_awkward() -> None:
    raise Awkward(1, 2)


def exit_by_itself() -> None:
    raise SystemExit(3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def sleep_in(mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(60)


def wait_at(gate: str) -> bool:
    while not Path(gate).exists():
        time.sleep(0.01)
    return True


def allocate(mib: int) -> int:
    return len(bytearray(mib << 20))


def spin_out_of_processor_time() -> None:
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used, resource.RLIM_INFINITY))
    while True:
        pass


def open_sockets() -> list[str]:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # the directory's own descriptor
    return [link for link in links if link.startswith("socket:")]


def signal_self() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "still here"


def is_loaded(module: str) -> bool:
    return module in sys.modules


def large(size: int) -> bytes:
    return b"x" * size


# -- helpers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerProcesses]:
    with WorkerProcesses(2, memory_bytes=256 << 20) as workers:
        workers.warm()
        yield workers


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def nursery_of(worker: int) -> int:
    (nursery,) = [child for child in children(os.getpid()) if worker in children(child)]
    return nursery


# -- results and errors ----------------------------------------------------------------------------


def test_a_result_comes_from_another_process(pool: WorkerProcesses) -> None:
    assert pool.run(add, 2, 3, timeout=30) == 5
    assert pool.run(worker_pid, timeout=30) != os.getpid()


def test_a_worker_is_kept(pool: WorkerProcesses) -> None:
    assert pool.run(worker_pid, timeout=30) == pool.run(worker_pid, timeout=30)


def test_a_result_may_be_large(pool: WorkerProcesses) -> None:
    assert len(pool.run(large, 5 << 20, timeout=30)) == 5 << 20


def test_gateway_errors_arrive_unharmed(pool: WorkerProcesses) -> None:
    with pytest.raises(Invalid) as caught:
        pool.run(refuse, "one", "two", timeout=30)
    assert caught.value.messages == ("one", "two")
    with pytest.raises(Unavailable) as later:
        pool.run(retry_later, timeout=30)
    assert later.value.retry_after == 7


def test_defects_arrive_with_their_traceback(pool: WorkerProcesses) -> None:
    with pytest.raises(TypeError) as caught:
        pool.run(add, 1, "x", timeout=30)
    assert "in add" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_pickled_arrives_in_words(pool: WorkerProcesses) -> None:
    with pytest.raises(RuntimeError, match="Awkward: 1 and 2"):
        pool.run(raise_awkward, timeout=30)
    with pytest.raises(SystemExit):
        pool.run(exit_by_itself, timeout=30)


def test_a_function_must_be_importable(pool: WorkerProcesses) -> None:
    with pytest.raises((AttributeError, TypeError)):
        pool.run(lambda: 1, timeout=30)  # type: ignore[misc]


# -- limits ----------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_killed_and_its_worker_replaced() -> None:
    with WorkerProcesses(1) as workers:
        pid = workers.run(worker_pid, timeout=30)
        started = time.monotonic()
        with pytest.raises(WorkerTimedOut, match=r"longer than 0\.2 seconds"):
            workers.run(sleep, 60, timeout=0.2)
        assert time.monotonic() - started < 30
        assert not is_running(pid)
        assert workers.run(worker_pid, timeout=30) != pid


def test_memory_is_bounded(pool: WorkerProcesses) -> None:
    assert pool.run(allocate, 64, timeout=30) == 64 << 20
    with pytest.raises(WorkerMemory, match="more than 256 MiB"):
        pool.run(allocate, 400, timeout=30)
    assert pool.run(add, 1, 1, timeout=30) == 2


def test_without_a_limit_memory_is_free() -> None:
    with WorkerProcesses(1) as workers:
        assert workers.run(allocate, 400, timeout=30) == 400 << 20


def test_processor_time_is_bounded(pool: WorkerProcesses) -> None:
    with pytest.raises(WorkerTimedOut, match="processor time"):
        pool.run(spin_out_of_processor_time, timeout=30)
    assert pool.run(add, 1, 1, timeout=30) == 2


def test_a_worker_is_replaced_after_its_runs() -> None:
    with WorkerProcesses(1, runs=3) as workers:
        pids = [workers.run(worker_pid, timeout=30) for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
        assert not is_running(pids[0])


def test_a_pool_needs_a_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        WorkerProcesses(0)


# -- deaths ----------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_told_and_replaced(pool: WorkerProcesses) -> None:
    with pytest.raises(WorkerDied, match=r"signal 9.*repeat the request") as caught:
        pool.run(die, timeout=30)
    assert caught.value.retry_after == 1
    assert pool.run(add, 1, 1, timeout=30) == 2


def test_a_worker_that_dies_idle_is_not_noticed() -> None:
    with WorkerProcesses(1) as workers:
        pid = workers.run(worker_pid, timeout=30)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_running(pid))
        assert workers.run(worker_pid, timeout=30) != pid


def test_a_nursery_that_dies_is_replaced() -> None:
    with WorkerProcesses(1) as workers:
        pid = workers.run(worker_pid, timeout=30)
        os.kill(nursery_of(pid), signal.SIGKILL)
        wait_for(lambda: not is_running(pid))
        again = workers.run(worker_pid, timeout=30)
        assert again != pid


def test_a_busy_worker_whose_nursery_dies_is_told(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with WorkerProcesses(1) as workers, ThreadPoolExecutor(1) as threads:
        future = threads.submit(workers.run, sleep_in, str(mark), timeout=30)
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        pid = int(mark.read_text())
        os.kill(nursery_of(pid), signal.SIGKILL)
        with pytest.raises(WorkerDied):
            future.result(30)
        assert workers.run(add, 1, 1, timeout=30) == 2


# -- threads ---------------------------------------------------------------------------------------


def test_several_threads_share_the_workers() -> None:
    with WorkerProcesses(2) as workers, ThreadPoolExecutor(8) as threads:
        pids = set(threads.map(lambda _: workers.run(sleep, 0.01, timeout=30), range(40)))
        assert 1 <= len(pids) <= 2


def test_when_all_are_busy_the_wait_is_bounded(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with WorkerProcesses(1, patience=0.1) as workers, ThreadPoolExecutor(1) as threads:
        workers.warm()
        busy = threads.submit(workers.run, wait_at, str(gate), timeout=60)
        wait_for(lambda: busy.running() and bool(workers._busy))
        with pytest.raises(Unavailable, match="busy"):
            workers.run(add, 1, 1, timeout=30)
        gate.touch()
        assert busy.result(30)


def test_deaths_and_results_in_many_threads() -> None:
    outcomes: list[str] = []

    def one(index: int) -> None:
        try:
            if index % 3 == 0:
                workers.run(die, timeout=30)
            elif index % 3 == 1:
                workers.run(sleep, 30, timeout=0.05)
            else:
                outcomes.append(str(workers.run(add, index, 1, timeout=30)))
        except (WorkerDied, WorkerTimedOut) as error:
            outcomes.append(error.code)

    with WorkerProcesses(3) as workers:
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(one, range(30)))
        assert workers.run(add, 1, 1, timeout=30) == 2
    assert outcomes.count("worker_died") == 10
    assert outcomes.count("timeout") == 10
    assert sorted(int(o) for o in outcomes if o.isdigit()) == [i + 1 for i in range(30) if i % 3 == 2]


# -- beginnings and ends ---------------------------------------------------------------------------


def test_workers_inherit_no_sockets_but_their_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        with WorkerProcesses(2) as workers, ThreadPoolExecutor(2) as threads:
            assert list(threads.map(lambda _: workers.run(sleep, 0.2, timeout=30), range(2)))
            ours = os.readlink(f"/proc/self/fd/{server.fileno()}")
            sockets = workers.run(open_sockets, timeout=30)
    assert len(sockets) == 1
    assert ours not in sockets


def test_workers_leave_signals_to_the_gateway(pool: WorkerProcesses) -> None:
    assert pool.run(signal_self, timeout=30) == "still here"


def test_modules_are_preloaded() -> None:
    with WorkerProcesses(1, preload=["colorsys"]) as workers:
        assert workers.run(is_loaded, "colorsys", timeout=30)


def test_a_module_that_is_missing_makes_the_pool_unavailable(capfd: pytest.CaptureFixture[str]) -> None:
    workers = WorkerProcesses(1, preload=["no_such_module"])
    with workers, pytest.raises(Unavailable, match="cannot be started"):
        workers.run(add, 1, 1, timeout=30)
    assert "no_such_module" in capfd.readouterr().err


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    workers = WorkerProcesses(2)
    idle = workers.run(worker_pid, timeout=30)
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(workers.run, sleep_in, str(mark), timeout=30)
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        workers.close()
        with pytest.raises(WorkerDied, match="stopping"):
            future.result(30)
    assert not is_running(idle)
    assert not is_running(int(mark.read_text()))
    with pytest.raises(WorkerDied, match="stopping"):
        workers.run(add, 1, 1, timeout=30)
    workers.close()


def test_workers_die_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = (
        "import sys; sys.path[:] = [*eval(sys.argv[2]), *sys.path]\n"
        "from gateway.workers import WorkerProcesses\n"
        "from tests.gateway.test_workers import sleep_in\n"
        "WorkerProcesses(1).run(sleep_in, sys.argv[1], timeout=60)\n"
    )
    arguments = [sys.executable, "-c", script, str(mark), repr([str(ROOT), *sys.path])]
    with subprocess.Popen(arguments) as gateway:
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        worker = int(mark.read_text())
        nurseries = children(gateway.pid)
        assert is_running(worker)
        gateway.kill()
    wait_for(lambda: not is_running(worker) and not any(map(is_running, nurseries)))


@pytest.mark.alone
def test_a_new_worker_costs_little(pool: WorkerProcesses) -> None:
    pool.run(add, 1, 1, timeout=30)
    threads = threading.active_count()
    with WorkerProcesses(1, runs=1) as workers:
        workers.warm()
        started = time.monotonic()
        pids = {workers.run(worker_pid, timeout=30) for _ in range(10)}
        assert len(pids) == 10
        assert time.monotonic() - started < 5
    assert threading.active_count() <= threads
