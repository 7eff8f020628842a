"""What Mesos reports of a task, and what it means for the task that we know.

A report is believed as far as the table allows; what the table does not hold is an old report that
was delayed or repeated, and is only acknowledged. A task that is reported alive and that we do not
know, or have already given up, is killed: it would run twice.

One answer has to be doubted. A master asked about a task it does not know says TASK_UNKNOWN, or
TASK_LOST to a framework that is not partition-aware ("Reconciliation: Task is unknown"); after it
was restarted with an in-memory registry it says so of every task until the agents have come back
(recording 16-master-restart). So a task that ran is PARTITIONED by such an answer and waited for,
unless its agent has been heard of since we registered: then the answer is final.
"""

from __future__ import annotations

import logging

import msgspec

from executor.task import TaskReport
from framework.core.lifecycle import Lifecycle
from framework.core.messages import Acknowledge, AgentTrouble, Kill
from framework.core.offers import OfferBook
from framework.core.reconciliation import Reconciler
from framework.core.tasks import allowed
from framework.core.timing import RECONCILIATION
from framework.model.cluster import StatusUpdate
from framework.model.tasks import ON_AGENT, TERMINAL, Task, TaskState

logger = logging.getLogger(__name__)

# The Mesos states that say: it exists on an agent.
_ALIVE = {
    "TASK_STAGING": TaskState.ASSIGNED,
    "TASK_STARTING": TaskState.STARTING,
    "TASK_RUNNING": TaskState.RUNNING,
    # It is being killed: by us, then the task is KILLING already, or by the executor itself.
    "TASK_KILLING": None,
}
_ENDED = {
    "TASK_FINISHED": TaskState.FINISHED,
    "TASK_FAILED": TaskState.FAILED,
    "TASK_KILLED": TaskState.KILLED,
    "TASK_ERROR": TaskState.FAILED,
    "TASK_LOST": TaskState.LOST,
    "TASK_DROPPED": TaskState.LOST,
    "TASK_GONE": TaskState.LOST,
    "TASK_GONE_BY_OPERATOR": TaskState.LOST,
}
# States, and reasons (also by their names before 1.0), of a loss that lies with neither the task nor
# its config. DROPPED: it never got to its executor, which was just ending for want of other tasks, say.
_BLAMELESS_STATES = {
    "TASK_DROPPED",
    "TASK_UNREACHABLE",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
    "TASK_UNKNOWN",
}
_BLAMELESS = ("REASON_INVALID_OFFERS", "REASON_RECONCILIATION", "REASON_AGENT_", "REASON_SLAVE_")
_RECONCILED = "REASON_RECONCILIATION"


def explain(update: StatusUpdate) -> str:
    """Returns an update's message for people, with Mesos's reason if that adds anything."""
    reason = update.reason.removeprefix("REASON_").replace("_", " ").lower()
    if not reason or update.reason == _RECONCILED:
        return update.message
    return f"{update.message} ({reason})" if update.message else reason


def teller(update: StatusUpdate) -> str:
    """Returns who tells: executor, agent, master, or reconciliation."""
    if update.reason == _RECONCILED:
        return RECONCILIATION
    return update.source.removeprefix("SOURCE_").lower() or "mesos"


class StatusDesk:
    """Takes status updates in."""

    def __init__(self, lifecycle: Lifecycle, book: OfferBook, reconciler: Reconciler) -> None:
        self._lifecycle = lifecycle
        self._state = lifecycle.state
        self._book = book
        self._reconciler = reconciler

    def receive(self, update: StatusUpdate) -> None:
        """Acts on an update; acknowledges it if it has a uuid (those of the master have none)."""
        if update.uuid:
            self._state.changes.act(Acknowledge(update))
        if update.agent_id and (update.uuid or update.state in _ALIVE):
            self._book.alive.add(update.agent_id)
        task = self._state.tasks.get(update.task_id)
        if task is None or task.state in TERMINAL:
            if update.state in _ALIVE:
                logger.info("task %s is %s and not wanted: kill", update.task_id, update.state)
                self._state.changes.act(Kill(task_id=update.task_id, agent_id=update.agent_id))
        elif task.state in ON_AGENT:
            self._apply(task, update)
        else:
            logger.warning("task %s is %s and reported as %s", task.task_id, task.state, update.state)

    def _apply(self, task: Task, update: StatusUpdate) -> None:
        to = self._meaning(task, update)
        if to is None:
            return
        self._reconciler.answered(task.task_id)
        self._state.touched_jobs[task.key] = None
        report = read_report(update)
        if report is not None:
            self._note_trouble(task, report)
            task = with_report(task, report)
        if to is task.state or not allowed(task, to):
            # Nothing new, or an old report; but the data may be new.
            self._lifecycle.move(task, task.state)
            return
        blameless = to is TaskState.LOST and (
            update.state in _BLAMELESS_STATES or update.reason.startswith(_BLAMELESS)
        )
        self._lifecycle.move(task, to, explain(update), teller(update), blameless=blameless)

    def _note_trouble(self, task: Task, report: TaskReport) -> None:
        """What its tasks say of an agent: the last word counts, of those who know."""
        if report.trouble is None or task.agent_id is None:
            return
        if report.trouble:
            trouble = AgentTrouble(task.hostname or task.agent_id, report.trouble, self._state.now)
            self._book.troubles[task.agent_id] = trouble
        else:
            self._book.troubles.pop(task.agent_id, None)

    def _meaning(self, task: Task, update: StatusUpdate) -> TaskState | None:
        """Returns the state that the task is in by this report; None: it is no answer, ask again."""
        if update.state in _ALIVE:
            return _ALIVE[update.state] or task.state
        if update.state == "TASK_UNREACHABLE":
            return self._unreachable(task)
        if update.state == "TASK_UNKNOWN" or (
            update.state == "TASK_LOST"
            and update.reason == _RECONCILED
            and "unknown to the agent" not in update.message
        ):
            return self._unknown(task, update)
        to = _ENDED.get(update.state)
        if to is None:
            logger.warning("task %s: Mesos reports the unknown state %s", task.task_id, update.state)
        elif update.state == "TASK_ERROR" and "more than available" in update.message:
            # The executor was thought to run on that agent and had ended: not the task's fault.
            return TaskState.LOST
        elif to is TaskState.KILLED and task.state is TaskState.PARTITIONED:
            # Killed by others while nobody could see it; the table knows only its loss.
            return TaskState.LOST
        return to

    def _unreachable(self, task: Task) -> TaskState:
        """Its agent does not answer the master. Without a policy the task is replaced at once."""
        if task.state is TaskState.PARTITIONED or (
            allowed(task, TaskState.PARTITIONED) and task.config.partition_policy is not None
        ):
            return TaskState.PARTITIONED
        return TaskState.LOST

    def _unknown(self, task: Task, update: StatusUpdate) -> TaskState | None:
        """The master does not know the task."""
        if task.agent_id in self._book.alive:
            return TaskState.LOST
        if task.state in (TaskState.STARTING, TaskState.RUNNING):
            message = f"{update.message or 'the master does not know the task'}; waiting for its agent"
            self._lifecycle.move(task, TaskState.PARTITIONED, message, RECONCILIATION)
        # ASSIGNED and those told to end have a timeout of their own.
        return None


def read_report(update: StatusUpdate) -> TaskReport | None:
    """Returns what the executor reports of its task beside the state, if it does."""
    if not update.data:
        return None
    try:
        return msgspec.json.decode(update.data, type=TaskReport)
    except msgspec.DecodeError as error:
        logger.debug("task %s: the data of its update is no report: %s", update.task_id, error)
        return None


def with_report(task: Task, report: TaskReport) -> Task:
    """Returns the task with what is reported of it: its sandbox, its container."""
    return msgspec.structs.replace(
        task,
        sandbox=report.sandbox or task.sandbox,
        container_id=report.container_id or task.container_id,
    )
