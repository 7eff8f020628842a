"""How executors end: asked to, killed, on their own, or not coming back after the agent restarted."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from framework.local import durations
from framework.local.containerizer import wait_status
from framework.local.processes import Watch, alive, kill_tree
from framework.local.runs import AgentFramework, Run, RunState, TaskRecord

if TYPE_CHECKING:
    from framework.local.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Endings:
    """The part of an agent that ends executors and says what became of their tasks."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._cleanups: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()

    # -- an executor is to end --

    def shutdown(self, run: Run) -> None:
        """Asks an executor to end; kills it after its grace period, or at once if nobody listens."""
        if run.state in {RunState.TERMINATING, RunState.TERMINATED}:
            return
        run.state = RunState.TERMINATING
        run.cancel_timer()
        if run.who is None:
            return  # still being launched; seen there
        if run.stream is None:
            self._kill(run)
            return
        run.stream.send({"type": "SHUTDOWN"})
        grace = run.info.get("shutdown_grace_period", {}).get("nanoseconds", 0) / 1e9
        delay = grace or self._agent.config.times.executor_shutdown_grace
        run.timer = self._agent.loop.call_later(delay, self._kill, run)

    def never_registered(self, run: Run) -> None:
        """The executor did not subscribe in time (34)."""
        limit = durations.show(self._agent.config.times.executor_registration)
        message = f"Executor did not register within {limit}"
        run.verdict = ("TASK_FAILED", "REASON_EXECUTOR_REGISTRATION_TIMEOUT", message)
        run.state = RunState.TERMINATING
        self._kill(run)

    def not_recovered(self, run: Run) -> None:
        """The executor did not subscribe again in time after the agent's restart (39)."""
        limit = durations.show(self._agent.config.times.executor_reregistration)
        message = f"Executor did not reregister within {limit}"
        state = self._lost_state(run, "TASK_GONE")
        run.verdict = (state, "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", message)
        run.state = RunState.TERMINATING
        self._kill(run)

    def _kill(self, run: Run) -> None:
        run.cancel_timer()
        if run.who is not None and run.state is not RunState.TERMINATED:
            self._in_thread(kill_tree, run.who.pid, run.marker)

    def _in_thread(self, function: Any, *args: Any) -> None:
        async def work() -> None:
            await self._agent.loop.run_in_executor(None, function, *args)

        task = self._agent.loop.create_task(work())
        self._cleanups.add(task)
        task.add_done_callback(self._cleaned)

    def _cleaned(self, task: asyncio.Task[None]) -> None:
        self._cleanups.discard(task)
        self._quiet.set()

    # -- an executor has ended --

    def process_gone(self, run: Run) -> None:
        """The executor's process ended; whatever it left behind ends now."""
        run.watch = None
        status = -1
        if run.process is not None:
            status = wait_status(run.process.wait())
        elif run.verdict is not None:
            status = 9  # a recovered executor is no child: its status is known only if it was killed

        async def clean_up() -> None:
            assert run.who is not None
            await self._agent.loop.run_in_executor(None, kill_tree, run.who.pid, run.marker)
            self.exited(run, status)

        if run.who is None:
            self.exited(run, status)
            return
        task = self._agent.loop.create_task(clean_up())
        self._cleanups.add(task)
        task.add_done_callback(self._cleaned)

    def exited(self, run: Run, status: int) -> None:
        """Nothing of the executor runs any more: reports it, then its unfinished tasks (06, 07, 34)."""
        agent = self._agent
        run.cancel_timer()
        run.state = RunState.TERMINATED
        agent.count("executors_terminated")
        stream, run.stream = run.stream, None
        if stream is not None:
            stream.end()
        framework = agent.frameworks[run.framework_id]
        if framework.runs.get(run.executor_id) is run:
            del framework.runs[run.executor_id]
        framework.ended[run.container_id] = run
        agent.send(
            {
                "type": "exited",
                "framework_id": run.framework_id,
                "executor_id": run.executor_id,
                "status": status,
                "command": run.command_task,
            }
        )
        default = ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
        state, reason, message = run.verdict or default
        if not run.abandoned:
            for task in run.live:
                self._agent.reports.own(run, task.id, state, message, reason)
        self.forget_if_done(run)
        self._quiet.set()

    def killed_before_delivery(self, run: Run, task: TaskRecord) -> None:
        """A task was killed before its executor had it (35)."""
        message = "Killed before delivery to the executor"
        self._agent.reports.own(run, task.id, "TASK_KILLED", message, "REASON_TASK_KILLED_DURING_LAUNCH")

    def forget_if_done(self, run: Run) -> None:
        """Drops a run that is over and whose updates are all acknowledged."""
        framework = self._agent.frameworks.get(run.framework_id)
        if framework is None or run.state is not RunState.TERMINATED:
            return
        if run.tasks and not run.abandoned:
            return
        framework.ended.pop(run.container_id, None)
        framework.completed.append(run)
        self._agent.journal.end(run)
        if framework.removed and not framework.all_runs():
            del self._agent.frameworks[framework.id]

    def remove_framework(self, framework: AgentFramework) -> None:
        """The framework was torn down: its executors end, its updates are of no use."""
        framework.removed = True
        self._agent.reports.pending.forget(framework.id)
        for run in framework.all_runs():
            run.abandoned = True
        for run in list(framework.ended.values()):
            self.forget_if_done(run)
        for run in list(framework.runs.values()):
            self.shutdown(run)
        if not framework.all_runs():
            self._agent.frameworks.pop(framework.id, None)

    # -- after a restart of the agent --

    def recover(self, *, keep: bool) -> None:
        """Finds executors again; those of frameworks that do not checkpoint end (11, 20).

        ``keep`` false: all end.
        """
        agent = self._agent
        found = agent.journal.recover(agent.reports.pending, agent.loop.time())
        for info, run in sorted(found, key=lambda pair: pair[1].started):
            framework = agent.frameworks.get(run.framework_id)
            if framework is None:
                framework = agent.frameworks[run.framework_id] = AgentFramework(info)
            running = run.who is not None and alive(run.who)
            kept = keep and run.checkpoint
            if not kept:
                run.abandoned = True  # the master has declared its tasks lost
                agent.reports.pending.forget(run.framework_id)
            if running or run.executor_id not in framework.runs:
                framework.runs[run.executor_id] = run
            run.state = RunState.RECOVERING if kept else RunState.TERMINATING
            if running:
                assert run.who is not None
                run.watch = Watch(run.who, lambda run=run: self.process_gone(run))  # type: ignore[misc]
            else:
                agent.loop.call_soon(self.process_gone, run)
            if running and kept:
                limit = agent.config.times.executor_reregistration
                run.timer = agent.loop.call_later(limit, self.not_recovered, run)
            elif running:
                self._kill(run)

    def lose_undelivered(self, run: Run, known: set[str]) -> None:
        """Tasks whose LAUNCH was sent before the restart, but which the executor does not know."""
        for task in run.live:
            if task.delivered and task.state == "TASK_STAGING" and task.id not in known:
                state = self._lost_state(run, "TASK_DROPPED")
                message = "Task launched during agent restart"
                self._agent.reports.own(run, task.id, state, message, "REASON_AGENT_RESTARTED")

    def _lost_state(self, run: Run, aware: str) -> str:
        return self._agent.frameworks[run.framework_id].lost_state(aware)

    async def end_all(self) -> None:
        """Ends every executor, politely first, and waits until nothing of them runs."""
        agent = self._agent
        for framework in list(agent.frameworks.values()):
            for run in list(framework.runs.values()):
                self.shutdown(run)
        while any(f.runs for f in agent.frameworks.values()) or self._cleanups:
            self._quiet.clear()
            await self._quiet.wait()
