"""The agent: runs executors, hands tasks to them and their updates to the master.

All on one event loop; only fetching, and killing process trees, happens in threads. How executors
end and come back is in ``endings.py``; recordings name where a text or an order comes from.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from framework.local import containerizer
from framework.local import resources as res
from framework.local.endings import Endings
from framework.local.journal import JOURNALS, Journal
from framework.local.link import Link
from framework.local.processes import Watch, identify
from framework.local.registry import replace_file
from framework.local.reports import Reports
from framework.local.runs import AgentFramework, ExecutorStream, Run, RunState, TaskRecord
from framework.local.settings import AgentConfig

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Agent:
    """The state of one agent and its rules. ``config.port`` is where it really listens."""

    def __init__(self, config: AgentConfig, attributes: list[Json], command_executor: list[str]) -> None:
        self.config = config
        self.root = Path(config.work_dir)
        self.loop = asyncio.get_running_loop()
        self.attributes = attributes
        self.total = res.parse(config.resources)
        self.id: str | None = None
        self.start_time = time.time()
        self.frameworks: dict[str, AgentFramework] = {}
        self.reports = Reports(self, config.times.update_retry)
        self.journal = Journal(self.root / JOURNALS)
        self.endings = Endings(self)
        self.counters: dict[str, int] = {}
        self.on_registered: Callable[[], None] = lambda: None
        self._command_executor = command_executor
        self._link: Link | None = None
        self._launches: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Callable[[Json], None]] = {
            "registered": self._registered,
            "run": self._run,
            "kill": self._kill,
            "ack": lambda m: self.reports.acknowledge(m["framework_id"], m["task_id"], m["uuid"]),
            "message": self._message,
            "shutdown_executor": self._shutdown_executor,
            "shutdown_framework": self._shutdown_framework,
            "framework_updated": self._framework_updated,
            "ping": lambda _: self.send({"type": "pong"}),
        }

    def count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    @property
    def info(self) -> Json:
        """``AgentInfo`` as executors and the operator API see it."""
        result: Json = {
            "hostname": self.config.address,
            "port": self.config.port,
            "resources": res.to_json(self.total),
            "attributes": self.attributes,
        }
        return result if self.id is None else {**result, "id": {"value": self.id}}

    @property
    def registered(self) -> bool:
        return self._link is not None and self.id is not None

    # -- the master --

    def connected(self, link: Link) -> None:
        """A link to the master is there: registers, with everything that is on this agent."""
        self._link = link
        runs = [(f, r) for f in self.frameworks.values() for r in f.all_runs()]
        link.send(
            {
                "type": "register",
                "name": self.config.name,
                "agent_id": self.id,
                "info": self.info,
                "address": self.config.address,
                "port": self.config.port,
                "frameworks": [f.info for f in self.frameworks.values()],
                "executors": [_executor_report(r) for f, r in runs if r.container_id not in f.ended],
                "tasks": [
                    _task_report(r, t) for _, r in runs if not r.abandoned for t in r.tasks.values()
                ],
            }
        )

    def disconnected(self, link: Link) -> None:
        if self._link is link:
            self._link = None

    def master_message(self, message: Json) -> None:
        self._handlers[message["type"]](message)

    def send(self, message: Json) -> None:
        """Sends to the master; without one the message is lost, which every receiver must survive."""
        if self._link is not None:
            self._link.send(message)

    def _registered(self, message: Json) -> None:
        if self.id is None:
            self.id = message["agent_id"]
            known = {"agent_id": self.id, "port": self.config.port, "resources": self.config.resources}
            replace_file(self.root / "meta" / "agent.json", msgspec.json.encode(known))
        self.on_registered()
        self.reports.flush()

    def unregister(self) -> None:
        """Tells the master that this agent leaves for good (10)."""
        self.send({"type": "unregister"})

    async def close(self) -> None:
        """Ends what this agent still has open."""
        self.reports.close()
        if self._link is not None:
            await self._link.flush_and_close()
        self.journal.close()

    # -- tasks come --

    def _run(self, message: Json) -> None:
        framework = self._framework(message["framework"])
        info = message["executor"] or self._command_executor_info(framework, message["tasks"][0])
        run = framework.runs.get(info["executor_id"]["value"])
        tasks = message["tasks"]
        if run is None and message["executor"] is not None and not message["launch_executor"]:
            self.reports.turn_away(framework, info, tasks, "Executor terminated")
        elif run is not None and run.state in {RunState.TERMINATING, RunState.TERMINATED}:
            self.reports.turn_away(framework, info, tasks, f"Executor {run.state.lower()}")
        else:
            if run is None:
                run = self._new_run(framework, info, message["role"], message["executor"] is None)
            group = tuple(t["task_id"]["value"] for t in tasks) if message["group"] else ()
            records = [TaskRecord(t, message["role"], group) for t in tasks]
            self.journal.tasks(run, records)
            run.tasks.update({t.id: t for t in records})
            if run.stream is not None and run.state is RunState.RUNNING:
                self._deliver(run)

    def _framework(self, info: Json) -> AgentFramework:
        framework_id = info["id"]["value"]
        framework = self.frameworks.get(framework_id)
        if framework is None:
            framework = self.frameworks[framework_id] = AgentFramework(info)
        return framework

    def _command_executor_info(self, framework: AgentFramework, task: Json) -> Json:
        """The executor that a task without one gets (14)."""
        command = task.get("command", {})
        shown = (
            f"sh -c '{command.get('value', '')}'"
            if command.get("shell", True)
            else command.get("value", "")
        )
        own: Json = {
            "shell": False,
            "value": self._command_executor[0],
            "arguments": self._command_executor,
        }
        own |= {k: command[k] for k in ("user", "uris") if k in command}
        return {
            "executor_id": task["task_id"],
            "framework_id": {"value": framework.id},
            "command": own,
            "resources": [],
            "name": f"Command Executor (Task: {task['task_id']['value']}) (Command: {shown[:80]})",
            "source": task["task_id"]["value"],
        }

    def _new_run(self, framework: AgentFramework, info: Json, role: str, command_task: bool) -> Run:
        assert self.id is not None
        container_id = str(uuid.uuid4())
        executor_id = info["executor_id"]["value"]
        directory = containerizer.sandbox_path(
            self.root, self.id, framework.id, executor_id, container_id
        )
        run = Run(framework.id, info, container_id, directory, role, framework.checkpoint, command_task)
        framework.runs[executor_id] = run
        self.journal.begin(run, framework.info)
        launch = self.loop.create_task(self._launch(framework, run))
        self._launches.add(launch)
        launch.add_done_callback(self._launches.discard)
        return run

    def _container(self, framework: AgentFramework, run: Run) -> containerizer.Container:
        assert self.id is not None
        environment = containerizer.environment(
            agent_id=self.id,
            address=self.config.address,
            port=self.config.port,
            framework_id=framework.id,
            executor=run.info,
            directory=run.directory,
            checkpoint=framework.checkpoint,
            times=self.config.times,
        )
        if run.command_task:
            environment["MESOS_ALLOCATION_ROLE"] = run.role
        command = run.info["command"]
        user = command.get("user") or framework.user
        return containerizer.Container(run.directory, command, user, environment, run.command_task)

    async def _launch(self, framework: AgentFramework, run: Run) -> None:
        container = self._container(framework, run)
        try:
            await self.loop.run_in_executor(None, containerizer.prepare, container)
            if run.state is RunState.TERMINATING:  # shut down meanwhile
                self.endings.exited(run, -1)
                return
            self._started(run, container)
        except containerizer.LaunchFailed as error:
            self.count("container_launch_errors")
            message = f"Failed to launch container: {error}"
            run.verdict = ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", message)
            self.endings.exited(run, -1)
        except OSError as error:
            text = f"Failed to execute command: {error}\n"
            (run.directory / "stderr").write_text(text)
            self.endings.exited(run, containerizer.EXEC_FAILED)

    def _started(self, run: Run, container: containerizer.Container) -> None:
        process = containerizer.start(container)
        run.process = process
        who = identify(process.pid)
        if who is not None:
            run.who = who
            self.journal.write(run, {"process": list(who)})
            run.watch = Watch(who, lambda: self.endings.process_gone(run))
        else:
            self.loop.call_soon(self.endings.process_gone, run)
        if run.state is not RunState.REGISTERING:
            return
        limit = self.config.times.executor_registration
        run.timer = self.loop.call_later(limit, self.endings.never_registered, run)

    # -- executors --

    def find_run(self, framework_id: str, executor_id: str) -> Run | None:
        framework = self.frameworks.get(framework_id)
        return None if framework is None else framework.runs.get(executor_id)

    def run_of(self, framework_id: str, task_id: str) -> Run | None:
        """The run, even if it is over, that has this task."""
        framework = self.frameworks.get(framework_id)
        runs = framework.all_runs() if framework is not None else []
        return next((r for r in runs if task_id in r.tasks), None)

    def subscribe(self, run: Run, stream: ExecutorStream, body: Json) -> None:
        """An executor subscribes, for the first time or again; an older stream ends silently (18)."""
        old, run.stream = run.stream, stream
        if old is not None:
            old.end()
        if run.state in {RunState.TERMINATING, RunState.TERMINATED}:
            stream.send({"type": "SHUTDOWN"})  # as in 39, where it comes too late
            stream.end()
            run.stream = None
            return
        run.cancel_timer()
        recovering = run.state is RunState.RECOVERING
        first = run.state is RunState.REGISTERING
        run.state = RunState.RUNNING
        framework = self.frameworks[run.framework_id]
        subscribed = {
            "executor_info": run.info,
            "framework_info": framework.info,
            "agent_info": self.info,
            "container_id": {"value": run.container_id},
        }
        stream.send({"type": "SUBSCRIBED", "subscribed": subscribed})
        for item in body.get("unacknowledged_updates", []):
            self.reports.update(run, item["status"])
        if recovering:
            known = {t["task_id"]["value"] for t in body.get("unacknowledged_tasks", [])}
            self.endings.lose_undelivered(run, known)
        if first and not run.live:
            self.endings.shutdown(run)  # everything was killed before (35)
            return
        self._deliver(run)
        for task in run.live:
            if task.killing is not None:
                stream.send(task.killing)

    def stream_closed(self, run: Run, stream: ExecutorStream) -> None:
        """An executor's connection broke: it may come back, or its process will be seen to end."""
        if run.stream is stream:
            run.stream = None

    def _deliver(self, run: Run) -> None:
        """Hands over what waits, groups as a whole."""
        waiting = [t for t in run.live if not t.delivered]
        if not waiting or run.stream is None:
            return
        self.journal.write(run, {"delivered": [t.id for t in waiting]})
        done: set[str] = set()
        for task in waiting:
            if task.id in done:
                continue
            task.delivered = True
            if not task.group:
                run.stream.send({"type": "LAUNCH", "launch": {"task": task.info}})
                continue
            members = [t for t in waiting if t.group == task.group]
            done.update(t.id for t in members)
            for member in members:
                member.delivered = True
            body = {"task_group": {"tasks": [t.info for t in members]}}
            run.stream.send({"type": "LAUNCH_GROUP", "launch_group": body})

    def executor_message(self, run: Run, data: str) -> None:
        self.count("valid_framework_messages")
        message = {"type": "message", "framework_id": run.framework_id, "executor_id": run.executor_id}
        self.send({**message, "data": data})

    # -- what else the master wants --

    def _kill(self, message: Json) -> None:
        run = self.run_of(message["framework_id"], message["task_id"])
        if run is None:
            return
        task = run.tasks[message["task_id"]]
        if not task.delivered and not task.terminal:
            for member in task.group or (task.id,):
                self.endings.killed_before_delivery(run, run.tasks[member])
            return
        kill: Json = {"task_id": {"value": task.id}}
        if message["kill_policy"] is not None:
            kill["kill_policy"] = message["kill_policy"]
        event = {"type": "KILL", "kill": kill}
        if not task.terminal:
            self.journal.write(run, {"kill": {"task_id": task.id, "event": event}})
            task.killing = event
        if run.stream is not None:
            run.stream.send(event)

    def _message(self, message: Json) -> None:
        run = self.find_run(message["framework_id"], message["executor_id"])
        if run is not None and run.stream is not None:
            run.stream.send({"type": "MESSAGE", "message": {"data": message["data"]}})

    def _shutdown_executor(self, message: Json) -> None:
        run = self.find_run(message["framework_id"], message["executor_id"])
        if run is not None:
            self.endings.shutdown(run)

    def _shutdown_framework(self, message: Json) -> None:
        framework = self.frameworks.get(message["framework_id"])
        if framework is not None:
            self.endings.remove_framework(framework)

    def _framework_updated(self, message: Json) -> None:
        framework = self.frameworks.get(message["framework"]["id"]["value"])
        if framework is None:
            return
        framework.info = message["framework"]
        if message["flush"]:
            self.reports.flush(framework.id)


def _executor_report(run: Run) -> Json:
    return {
        "framework_id": run.framework_id,
        "info": run.info,
        "role": run.role,
        "command": run.command_task,
        "held": res.to_json(run.resources),
    }


def _task_report(run: Run, task: TaskRecord) -> Json:
    return {
        "framework_id": run.framework_id,
        "info": task.info,
        "executor_id": None if run.command_task else run.executor_id,
        "role": task.role,
        "state": task.state,
        "statuses": [{k: v for k, v in s.items() if k != "data"} for s in task.statuses],
        "update_state": task.update_state,
        "update_uuid": task.update_uuid,
    }
