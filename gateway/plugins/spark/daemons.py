"""Spark's processes on a node: started, stopped, and what the master knows of its workers."""

from __future__ import annotations

import contextlib
import json
import shlex
from typing import Any, Literal

import msgspec

from gateway.plugins.exceptions import NodeError
from gateway.plugins.nodes import wait_for
from gateway.plugins.remote import Remote
from gateway.plugins.spark.settings import Settings

_CLASSES = {
    "master": "org.apache.spark.deploy.master.Master",
    "worker": "org.apache.spark.deploy.worker.Worker",
}
_LOOK_SECS = 30.0
Daemon = Literal["master", "worker"]


class Worker(msgspec.Struct, frozen=True):
    """A worker as the master sees it. ``state``: ALIVE, DEAD, DECOMMISSIONED, UNKNOWN."""

    host: str
    state: str
    cores: int = 0
    memory: int = 0


def workers_of(page: str) -> tuple[Worker, ...]:
    """Returns the workers that the master's JSON page tells of; a host's last one counts.

    Raises :class:`NodeError` for what is no such page.
    """
    try:
        body: Any = json.loads(page)
        found = msgspec.convert(body["workers"], list[Worker])
    except (ValueError, KeyError, TypeError) as error:
        raise NodeError(f"the master's page cannot be read: {page[:200]!r}") from error
    by_host: dict[str, Worker] = {}
    for worker in found:
        # A worker that has been started again is there twice: as what it was, and alive.
        if worker.host not in by_host or worker.state == "ALIVE":
            by_host[worker.host] = worker
    return tuple(by_host.values())


def alive(remote: Remote, page_port: int) -> frozenset[str]:
    """Returns the hosts of the workers that the master can use; ``remote`` is the master's.

    It is asked from inside its node: from here its address may not be reached. Raises NodeError.
    """
    ask = (
        f"exec 3<>/dev/tcp/localhost/{page_port}"
        r" && printf 'GET /json/ HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && cat <&3"
    )
    said = remote.execute_command(f"bash -c {shlex.quote(ask)}", timeout=_LOOK_SECS)
    head, _, body = said[1].partition("\r\n\r\n")
    if " 200 " not in head.split("\r\n")[0]:
        raise NodeError(f"the master's page answers {head[:100]!r}")
    return frozenset(worker.host for worker in workers_of(body) if worker.state == "ALIVE")


def start(remote: Remote, node: Settings, daemon: Daemon, *arguments: str) -> None:
    """Starts a daemon unless it runs. Raises :class:`NodeError` if it does not stay up.

    Spark's script gives its JVM some seconds to come up, which are not enough on a busy machine: it
    is waited for as long as its process is there.
    """
    script, kind = f"{shlex.quote(node.home)}/sbin/spark-daemon.sh", _CLASSES[daemon]
    heap = node.master_heap_mb if daemon == "master" else node.worker_heap_mb
    pid = shlex.quote(f"{node.home}/pids/spark-cluster-{kind}-1.pid")
    up = f"{script} status {kind} 1 >/dev/null 2>&1"
    remote.execute_command(
        f"{up} && exit 0; "
        f"said=$(SPARK_DAEMON_MEMORY={heap}m {script} start {kind} 1 {shlex.join(arguments)} 2>&1); "
        f"while kill -0 $(cat {pid}) 2>/dev/null; do {up} && exit 0; sleep 1; done; "
        'echo "$said" >&2; exit 1',
        timeout=node.start_secs,
    )


def stop(remote: Remote, node: Settings, daemon: Daemon) -> None:
    """Ends a daemon; does nothing if it does not run."""
    script, kind = f"{shlex.quote(node.home)}/sbin/spark-daemon.sh", _CLASSES[daemon]
    remote.execute_command(f"{script} stop {kind} 1", timeout=_LOOK_SECS)


def retire_worker(remote: Remote, node: Settings) -> None:
    """Takes a worker away: it gets nothing new, its executors hand over and end, then it ends.

    Executors that have not ended in time end with it.
    """
    script, kind = f"{shlex.quote(node.home)}/sbin/spark-daemon.sh", _CLASSES["worker"]
    remote.execute_command(f"{script} decommission {kind} 1", timeout=_LOOK_SECS)

    def busy() -> str | None:
        code = remote.execute_command(
            "pgrep -f '[C]oarseGrainedExecutorBackend' >/dev/null", raise_when_error=False
        )[0]
        return "executors still run" if code == 0 else None

    # What has not ended by then is ended: the user has said how long it may go on.
    with contextlib.suppress(NodeError):
        wait_for(busy, node.decommission_secs)
    stop(remote, node, "worker")
