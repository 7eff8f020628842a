"""What an agent writes down to find its executors again after it died: a file of lines per run.

Each line is one JSON record, appended before the agent acts on it. A process that is killed loses
nothing that was written, so nothing is synced; a half line at the end is ignored.

Records: ``run`` (what was started), ``process``, ``tasks``, ``delivered``, ``kill``, ``update``,
``ack``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from framework.local.processes import Identity, alive, kill_tree
from framework.local.runs import Run, TaskRecord
from framework.local.updates import UpdateManager

log = logging.getLogger(__name__)

Json = dict[str, Any]
# Where an agent's journals are, in its directory.
JOURNALS = Path("meta") / "executors"


class Journal:
    """The journals of all runs, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, int] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, run: Run, record: Json) -> None:
        """Appends a record to the run's journal."""
        fd = self._open.get(run.container_id)
        if fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            fd = self._open[run.container_id] = os.open(self._path(run.container_id), flags, 0o600)
        data = memoryview(msgspec.json.encode(record) + b"\n")
        while data:
            data = data[os.write(fd, data) :]

    def begin(self, run: Run, framework: Json) -> None:
        """Starts the journal of a run."""
        about = {
            "framework": framework,
            "info": run.info,
            "container_id": run.container_id,
            "directory": str(run.directory),
            "role": run.role,
            "checkpoint": run.checkpoint,
            "command_task": run.command_task,
            "started": run.started,
        }
        self.write(run, {"run": about})

    def tasks(self, run: Run, tasks: list[TaskRecord]) -> None:
        items = [{"info": t.info, "role": t.role, "group": t.group} for t in tasks]
        self.write(run, {"tasks": items})

    def end(self, run: Run) -> None:
        """Forgets a run: nothing of it needs to be found again."""
        fd = self._open.pop(run.container_id, None)
        if fd is not None:
            os.close(fd)
        self._path(run.container_id).unlink(missing_ok=True)

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def recover(self, updates: UpdateManager, now: float) -> Iterator[tuple[Json, Run]]:
        """Returns (framework info, run) of each journal; pending updates go to ``updates``."""
        for path in sorted(self._directory.glob("*.journal")):
            records = list(_records(path))
            if not records or "run" not in records[0]:
                log.warning("%s holds no run: removed", path)
                path.unlink()
                continue
            yield records[0]["run"]["framework"], _replay(records, updates, now)

    def _path(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.journal"


def kill_recorded(directory: Path) -> None:
    """Kills what an agent that is gone has left in ``directory``, its journals' place."""
    for path in directory.glob("*.journal"):
        records = list(_records(path))
        marker = f"MESOS_SANDBOX={records[0]['run']['directory']}" if records else None
        for record in records:
            if "process" in record:
                who = Identity(*record["process"])
                if alive(who):
                    log.info("kills process %d, which a dead agent left behind", who.pid)
                    kill_tree(who.pid, marker)


def _records(path: Path) -> Iterator[Json]:
    for line in path.read_bytes().split(b"\n"):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return


def _replay(records: list[Json], updates: UpdateManager, now: float) -> Run:
    about = records[0]["run"]
    run = Run(
        framework_id=about["framework"]["id"]["value"],
        info=about["info"],
        container_id=about["container_id"],
        directory=Path(about["directory"]),
        role=about["role"],
        checkpoint=about["checkpoint"],
        command_task=about["command_task"],
        started=about["started"],
    )
    for record in records[1:]:
        for kind, value in record.items():
            _REPLAY[kind](run, value, updates, now)
    return run


def _replay_process(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    run.who = Identity(*value)


def _replay_tasks(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    for item in value:
        task = TaskRecord(item["info"], item["role"], tuple(item["group"]))
        run.tasks[task.id] = task


def _replay_delivered(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    for task_id in value:
        run.tasks[task_id].delivered = True


def _replay_kill(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    run.tasks[value["task_id"]].killing = value["event"]


def _replay_update(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    run.seen.add(value["uuid"])
    key = (run.framework_id, value["task_id"]["value"])
    if updates.add(key, value, now) is not None:
        _replay_head(run, value)
    task = run.tasks.get(key[1])
    if task is not None:
        task.record(value)


def _replay_head(run: Run, head: Json) -> None:
    task = run.tasks.get(head["task_id"]["value"])
    if task is not None:
        task.update_state, task.update_uuid = head["state"], head["uuid"]


def _replay_ack(run: Run, value: Any, updates: UpdateManager, now: float) -> None:
    key = (run.framework_id, value["task_id"])
    done, following = updates.acknowledge(key, value["uuid"], now)
    if following is not None:
        _replay_head(run, following)
    if done is not None and value["task_id"] in run.tasks and following is None:
        task = run.tasks[value["task_id"]]
        if task.terminal and not updates.has(key):
            run.completed.append(run.tasks.pop(task.id))


_REPLAY = {
    "process": _replay_process,
    "tasks": _replay_tasks,
    "delivered": _replay_delivered,
    "kill": _replay_kill,
    "update": _replay_update,
    "ack": _replay_ack,
}
