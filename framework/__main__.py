"""The framework on its own, without the gateway: ``python -m framework --master … --state …``.

It keeps running what its state says, until SIGTERM or SIGINT; jobs come from whoever shares the
state, or from before. ``--teardown`` is the operator's command that ends the framework in Mesos.
"""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from framework.clock import Clock
from framework.core.messages import Disconnected, Event, Registered
from framework.core.settings import Settings
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.interface import Sink
from framework.model.errors import GatewayError, Invalid, Unavailable
from framework.service import SchedulerService
from framework.storage import Storage

logger = logging.getLogger("framework")

# How long --teardown waits for Mesos.
_ANSWER_SECONDS = 60.0


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(prog="python -m framework", description=__doc__)
    known.add_argument(
        "--master", required=True, help="host:port, several with commas, or zk://host:port/path"
    )
    known.add_argument("--state", required=True, help="a SQLite file or a SQLAlchemy URL")
    known.add_argument("--name", default="mesos-gateway", help="the framework's name in Mesos")
    known.add_argument("--role", default="*", help="the Mesos role whose resources it uses")
    known.add_argument("--user", default="", help="the user that executors run as (default: this one)")
    known.add_argument("--principal", help="authenticates the framework, with --secret-file")
    known.add_argument("--secret-file", type=Path, help="the file that holds the principal's secret")
    known.add_argument("--executor-command", default="", help="starts the executor on an agent")
    known.add_argument("--executor-uri", default="", help="where agents fetch the executor from")
    known.add_argument(
        "--task-user", help="'role': each task runs as its job's role; or one user's name"
    )
    what = known.add_mutually_exclusive_group()
    what.add_argument(
        "--teardown",
        action="store_true",
        help="end the framework: Mesos kills ALL of its tasks; then exit",
    )
    what.add_argument(
        "--new-framework",
        action="store_true",
        help="forget the framework id that Mesos has removed, and go on as a new framework",
    )
    return known


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 when it could not do its work, 2 for options that cannot be."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _run(options)
    except Invalid as error:
        print(f"framework: {error}", file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"framework: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    framework = FrameworkSettings(
        name=options.name,
        user=options.user,
        role=options.role,
        principal=options.principal,
        secret=_secret(options.secret_file),
    )
    # An operator who ends the framework needs no executor.
    command = options.executor_command or ("false" if options.teardown else "")
    executor = ExecutorSettings(command=command, uri=options.executor_uri, task_user=options.task_user)
    clock = Clock()
    settings = Settings(executor_cpus=executor.cpus, executor_mem_mb=executor.mem_mb)

    def make_driver(sink: Sink, framework_id: str | None) -> MesosDriver:
        return MesosDriver(
            options.master, framework, executor, sink, framework_id=framework_id, clock=clock.now
        )

    storage = Storage(options.state)
    try:
        if options.teardown:
            return _teardown(storage, make_driver)
        if options.new_framework:
            storage.forget_framework(storage.claim_epoch())
        return _serve(SchedulerService(storage, make_driver, settings, clock))
    finally:
        storage.close()


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the secret cannot be read from {path}: {error}") from error


def _serve(service: SchedulerService) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service.start()
    said: tuple[str, ...] | None = None
    # The main thread has nothing to do but to say what changes.
    while not stop.wait(1.0):
        status = service.status()
        if status.problems != said:
            said = status.problems
            logger.info(
                "%s", "; ".join(said) or f"ready: framework {status.framework_id} at {status.master}"
            )
        if service.ended:
            return 1
    service.stop()
    return 0


def _teardown(storage: Storage, make_driver: Callable[[Sink, str | None], MesosDriver]) -> int:
    """Ends the framework of this state. Whoever runs it now is deposed first."""
    epoch = storage.claim_epoch()
    framework_id = storage.load().framework_id
    if framework_id is None:
        raise Invalid("this state belongs to no framework: there is nothing to tear down")
    heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
    driver = make_driver(heard.put, framework_id)
    driver.start()
    try:
        _wait_for(driver, heard, Registered)
        driver.teardown()
        _wait_for(driver, heard, Disconnected)
    finally:
        driver.stop()
    storage.forget_framework(epoch)
    logger.info("framework %s is torn down; Mesos kills its tasks", framework_id)
    return 0


def _wait_for(driver: MesosDriver, heard: queue.SimpleQueue[Event], kind: type[Event]) -> None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline and driver.status.fatal is None:
        try:
            if isinstance(heard.get(timeout=0.1), kind):
                return
        except queue.Empty:
            continue
    status = driver.status
    raise Unavailable(status.fatal or f"Mesos does not answer: {status.problem or 'no event came'}")


if __name__ == "__main__":
    sys.exit(main())
