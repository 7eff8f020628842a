"""What must hold after every event; a test's :meth:`Scheduler.validate`."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from framework.core.disks import DiskBook
from framework.core.offers import OfferBook
from framework.core.reconciliation import Reconciler
from framework.core.state import InvariantViolation, JobRecord, State
from framework.core.tasks import ENDING, TRANSITIONS, tell
from framework.model.jobs import JobKey
from framework.model.tasks import ACTIVE, ON_AGENT, TERMINAL, Task, TaskState


def require(holds: bool, message: str) -> None:
    """Raises :class:`InvariantViolation` with ``message`` unless it holds."""
    if not holds:
        raise InvariantViolation(message)


def check_state(state: State) -> None:
    """Raises :class:`InvariantViolation` if jobs, tasks, updates or their indexes contradict."""
    require(+Counter(t.state for t in state.tasks.values()) == +state.by_state, "by_state is wrong")
    by_job: dict[JobKey, list[Task]] = {}
    for task in state.tasks.values():
        check_task(task)
        by_job.setdefault(task.key, []).append(task)
    for key, record in state.jobs.items():
        check_job(state, record, by_job.get(key, []))
    on_agent = {(t.agent_id, t.task_id) for t in state.tasks.values() if t.state in ON_AGENT}
    check_disks(state)
    check_gangs(state)
    indexed = {(agent, i) for agent, ids in state.by_agent.items() for i in ids}
    require(on_agent == indexed, f"by_agent differs from the tasks: {on_agent ^ indexed}")
    grouped = {i for group in state.groups for i in group.tasks}
    grouped |= {i for gang in state.gangs.values() for i in gang.tasks}
    pending = {i for i, t in state.tasks.items() if t.state is TaskState.PENDING}
    require(grouped == pending, f"groups differ from the pending tasks: {grouped ^ pending}")
    live = {key for keys in state.live.values() for key in keys}
    require(live == {k for k, r in state.jobs.items() if r.is_live}, "live is wrong")
    updating = {u.key for u in state.updates.values() if u.is_active}
    require(updating == set(state.updating), "updating is wrong")


def check_disks(state: State) -> None:
    """Raises :class:`InvariantViolation` if two tasks have the same disk of an agent."""
    had: dict[tuple[str | None, str], str] = {}
    book = DiskBook()
    for task in state.tasks.values():
        if task.state in ACTIVE and (task.disks or task.home):
            book.add(task)
        for name in task.disks if task.state in ON_AGENT else ():
            other = had.setdefault((task.agent_id, name), task.task_id)
            require(other == task.task_id, f"{other} and {task.task_id} both have disk {name}")
    require(state.disks.same(book), "the book of disks differs from the tasks")


def check_gangs(state: State) -> None:
    """Raises :class:`InvariantViolation` if a gang was placed in part."""
    placed: dict[str, set[float]] = {}
    for task in state.tasks.values():
        assigned = [event.at for event in task.events if event.state is TaskState.ASSIGNED]
        if task.gang and assigned:
            placed.setdefault(task.gang, set()).add(assigned[0])
    for gang, moments in placed.items():
        require(len(moments) == 1, f"gang {gang} was placed at {sorted(moments)}, not at once")
        require(gang not in state.gangs, f"gang {gang} is placed, and a part of it waits")


def check_home(task: Task) -> None:
    """A task has the disks that it asks for: by name, or those of its home, which it is at."""
    need = task.config.resources
    require(len(task.disks) == need.data_disks, f"{task.task_id} has disks {task.disks}")
    named = need.disk_names if task.home is None else task.home.disks
    require(not named or named == task.disks, f"{task.task_id} has {task.disks}, not {named}")
    if task.home is not None:
        at_home = task.hostname == task.home.hostname
        require(at_home, f"{task.task_id} is on {task.hostname}, not on {task.home.hostname}")


def check_task(task: Task) -> None:
    """What a task says of itself fits its state, and its history is a way through the table."""
    story = "; ".join(tell(task))
    require(bool(task.events) and task.events[-1].state is task.state, f"{task.task_id}: {story}")
    states = [TaskState.INIT, *(event.state for event in task.events)]
    for pair in pairwise(states):
        require(pair in TRANSITIONS, f"{task.task_id} went {pair[0]} -> {pair[1]}: {story}")
    times = [event.at for event in task.events]
    require(times == sorted(times), f"{task.task_id}: time goes back: {story}")
    placed = task.agent_id is not None
    if task.state in ON_AGENT:
        require(placed, f"{task.task_id} is {task.state} on no agent")
        names = set(task.config.resources.ports)
        distinct = len(set(task.ports.values())) == len(task.ports)
        require(set(task.ports) == names and distinct, f"{task.task_id} has ports {task.ports}")
        check_home(task)
    if task.state in (TaskState.PENDING, TaskState.THROTTLED):
        require(not placed, f"{task.task_id} is {task.state} on agent {task.agent_id}")


def check_job(state: State, record: JobRecord, tasks: list[Task]) -> None:
    """What is kept beside a job agrees with its tasks."""
    key = record.job.spec.key
    active = {t.instance: t.task_id for t in tasks if t.state in ACTIVE}
    require({i: t.task_id for i, t in record.active.items()} == active, f"{key}: active is wrong")
    ended = {t.task_id for t in tasks if t.state in TERMINAL}
    require(set(record.ended) == ended, f"{key}: ended is wrong")
    crowd = Counter(t.agent_id for t in tasks if t.state in ON_AGENT)
    homes = {t.task_id for t in tasks if t.home and t.state in ACTIVE - ON_AGENT}
    require(set(record.homes) == homes, f"{key}: homes is wrong")
    tagged = Counter((g, t.agent_id) for t in tasks if t.state in ON_AGENT for g in t.config.tags)
    counted = {(tag, agent): n for tag, there in record.tagged.items() for agent, n in there.items()}
    require(counted == dict(tagged), f"{key}: tagged is {counted}, not {dict(tagged)}")
    require(dict(record.crowd) == dict(crowd), f"{key}: crowd is {record.crowd}, not {crowd}")
    for instance, config in record.job.wanted.items():
        task = record.active.get(instance)
        require(task is not None, f"{key}: instance {instance} is wanted and has no task")
        if task is not None and task.state not in ENDING:
            require(task.config == config, f"{key}: {task.task_id} does not run what is wanted")
    for instance, task in record.active.items():
        wanted = instance in record.job.wanted or task.state in ENDING
        require(wanted, f"{key}: {task.task_id} is {task.state} and not wanted")
    updating = [i for i in record.updates if state.updates[i].is_active]
    require(updating == ([record.updating] if record.updating else []), f"{key}: updates {updating}")


def check_offers(book: OfferBook) -> None:
    """Each offer is held once, and no agent has given more than it had."""
    ids = [offer.offer_id for offer in book.offers()]
    require(len(ids) == len(set(ids)) == len(book), "an offer is held twice, or not at all")
    for agent_id, held in book.held.items():
        room = held.room
        free = (room.cpus, room.mem, room.disk, room.gpus)
        require(min(free) > -0.001, f"agent {agent_id} is oversubscribed: {free}")


def check_reconciler(reconciler: Reconciler, state: State) -> None:
    """Only tasks that are on an agent are asked for."""
    for task_id in reconciler.unanswered:
        task = state.tasks.get(task_id)
        require(task is not None and task.state in ON_AGENT, f"{task_id} is asked for and on no agent")
