"""Starts the executor: options, signals, and the order in which its parts come up and go down."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from executor.runtimes.zygote import Zygote

if TYPE_CHECKING:
    from executor.environment import ExecutorEnvironment
    from executor.runtimes.base import Options
    from executor.runtimes.choice import Runtimes

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL = 30.0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options; exits with 2 and a message on a wrong one."""
    parser = argparse.ArgumentParser(
        prog="executor", description="The Mesos executor of mesos-gateway; started by a Mesos agent."
    )
    parser.add_argument(
        "--idle-timeout",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="exit after so long without a task (default: 0, stay until the agent says shutdown)",
    )
    parser.add_argument(
        "--hard-cpu-limit",
        action="store_true",
        help="containers get no more CPU than asked for, even when the agent is idle",
    )
    parser.add_argument("--pids-limit", type=int, default=4096, help="processes per container (4096)")
    parser.add_argument(
        "--sandboxes-kept", type=int, default=50, help="sandboxes of terminated tasks to keep (50)"
    )
    parser.add_argument(
        "--docker-patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long tasks wait for a Docker daemon that does not answer (300)",
    )
    parser.add_argument(
        "--ports-patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long a node may take until it listens on the ports that it has to (300)",
    )
    parser.add_argument(
        "--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"], help="(INFO)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the executor until it is shut down; returns the exit code (2: not started by an agent)."""
    options = parse(arguments)
    logging.basicConfig(
        level=options.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s [%(threadName)s] %(name)s: %(message)s",
    )
    # First of all, while this process has one thread and few modules.
    zygote = Zygote.start()
    return _serve(options, zygote)


def _serve(options: argparse.Namespace, zygote: Zygote) -> int:
    from executor.driver import ExecutorDriver
    from executor.environment import BadEnvironment, parse_environment
    from executor.executor import Executor
    from executor.identity import owner_of
    from executor.runtimes.choice import Runtimes
    from executor.updates import UpdateLog

    try:
        environment = parse_environment(os.environ)
    except BadEnvironment as error:
        sys.stderr.write(f"{error}\n")
        zygote.close()
        return 2
    runtimes = Runtimes(zygote)
    executor = Executor(
        environment,
        _runtime_options(options),
        owner_of(os.getpid()),
        runtimes.choose,
    )
    updates = UpdateLog(Path(environment.directory) / ".executor" / "updates.jsonl")
    driver = ExecutorDriver(executor, environment, updates)
    executor.driver = driver

    def on_signal(number: int, _frame: object) -> None:
        # On a thread: the main thread may hold the very lock that shutdown needs.
        reason = f"the executor got {signal.Signals(number).name}"
        threading.Thread(target=executor.shutdown, args=(reason,), name="on-signal").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    sweeper = threading.Thread(
        target=_sweep, args=(runtimes, environment, executor.stopped), name="sweep", daemon=True
    )
    sweeper.start()
    driver.start()
    while not executor.stopped.wait(1.0):
        if options.idle_timeout and executor.idle_for() > options.idle_timeout:
            executor.shutdown(f"no task for {options.idle_timeout:g} s")
    driver.close()
    updates.close()
    runtimes.close()
    return 0


def _runtime_options(given: argparse.Namespace) -> Options:
    from executor.runtimes.base import Options

    return Options(
        hard_cpu_limit=given.hard_cpu_limit,
        docker_patience=given.docker_patience,
        pids_limit=given.pids_limit,
        sandboxes_kept=given.sandboxes_kept,
        ports_patience=given.ports_patience,
    )


def _sweep(runtimes: Runtimes, environment: ExecutorEnvironment, stopped: threading.Event) -> None:
    """Removes orphans now and every half minute; Docker is asked only where there is one."""
    from executor.sweep import kill_orphans

    while not stopped.is_set():
        kill_orphans()
        if (
            shutil.which("dockerd")
            or os.path.exists("/var/run/docker.sock")
            or os.environ.get("DOCKER_HOST")
        ):
            runtimes.docker().sweep(environment)
        stopped.wait(_SWEEP_INTERVAL)
