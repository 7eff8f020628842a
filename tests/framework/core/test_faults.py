"""The scheduler against a small Mesos in which everything that can go wrong does.

Every message is dropped, repeated, swapped or late; the scheduler crashes before its writes are
committed, after that and before its calls, or half-way through them; masters forget, agents part and
return. After each step the state must be sound; once the faults stop, what is wanted must run, once.
MESOS_GATEWAY_LONG=1 runs many more examples.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from framework.core import messages as m
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.core.tasks import ENDING
from framework.model.errors import GatewayError
from framework.model.jobs import JobKey, PartitionPolicy, UpdateSettings
from framework.model.tasks import ON_AGENT, TERMINAL, Task, TaskState
from framework.model.updates import InstanceAction, Update, UpdateStatus
from tests.framework.core.mesos_model import EXECUTOR_CPUS, EXECUTOR_MEM, Mesos
from tests.framework.core.rig import START, Store, equal_state, ids, spec
from tests.measured import Measured

LONG = bool(os.environ.get("MESOS_GATEWAY_LONG"))
EXAMPLES = 2_500 if LONG else 600
STEPS = 50

KEYS = [JobKey("devcluster", "ann", "prod", name) for name in ("web", "patient", "batch", "hopeless")]
# It fits nowhere, so that offers are held.
HOPELESS = KEYS[3]
SETTINGS = Settings(
    executor_cpus=EXECUTOR_CPUS,
    executor_mem_mb=EXECUTOR_MEM,
    history_tasks=4,
    history_updates=2,
    reconcile_batch=2,
)
# Longer than any of the timeouts and back-offs one after the other.
BOUND_SECS = 3000.0
# From the time when a task was told to end (Settings.kill_retry_secs, doubling).
KILLS_AFTER = (15.0, 45.0, 105.0, 225.0)
CHANGING = (InstanceAction.INSTANCE_UPDATING, InstanceAction.INSTANCE_ROLLING_BACK)
number = st.integers(0, 5)
FATES = ("drop", "repeat", "swap", "delay")
wires = st.sampled_from(["calls", "events"])


def job(which: int, instances: int, version: int) -> Any:
    fields: list[dict[str, Any]] = [
        {"ports": ("http",)},
        {
            "partition_policy": PartitionPolicy(reschedule=True, delay_secs=60),
            "constraints": [("host", "limit:2")],
        },
        {"service": False, "max_task_failures": 2},
        {"constraints": [("rack", "nowhere")]},
    ]
    strategy, sizes = [("queue", (1,)), ("batch", (2,)), ("variable_batch", (1, 2))][version % 3]
    update = UpdateSettings(
        strategy=strategy,  # type: ignore[arg-type]
        group_sizes=sizes,
        watch_secs=20,
        max_per_instance_failures=version // 4,
        autopause_after_batch=version == 5,
        rollback_on_failure=version != 3,
    )
    return spec(instances, str(version), key=KEYS[which], update=update, **fields[which])


class Gateway:
    """The scheduler with its storage: what a process is, and what remains when it dies."""

    def __init__(self, mesos: Mesos) -> None:
        self.mesos = mesos
        self.store = Store()
        self.new_id = ids()
        self.crash: str | None = None
        self.scheduler = Scheduler(SETTINGS, new_id=self.new_id)
        self._updates = ids()
        # What the scheduler has heard of and may use, and when it last sent which kill.
        self._offers: set[str] = set()
        self.kills: dict[str, float] = {}

    def take(self, event: m.Event) -> None:
        """Handles an event the way the service does, unless the process dies in the middle."""
        outcome = self.scheduler.handle(event)
        self._check_offers(event, outcome.actions)
        self.kills.update((a.task_id, self.mesos.now) for a in outcome.actions if isinstance(a, m.Kill))
        crash, self.crash = self.crash, None
        if crash == "before the commit":
            self.restart()
            return
        self.store.apply(outcome.writes)
        calls = list(outcome.actions)
        if crash == "after the commit":
            calls = []
        elif crash == "between two calls":
            calls = calls[: len(calls) // 2]
        if self.mesos.stream is not None:
            self.mesos.up += [(self.mesos.stream, call) for call in calls]
        if crash is not None:
            self.restart()

    def _check_offers(self, event: m.Event, actions: Sequence[m.Action]) -> None:
        """An offer is used once, in the connection that it came with, unless it is taken back."""
        match event:
            case m.Registered() | m.Disconnected():
                self._offers.clear()
            case m.OffersReceived():
                self._offers.update(offer.offer_id for offer in event.offers)
            case m.OfferRescinded():
                self._offers.discard(event.offer_id)
        for action in actions:
            if isinstance(action, m.Launch | m.Decline):
                assert self._offers.issuperset(action.offer_ids), (event, action)
                self._offers.difference_update(action.offer_ids)

    def restart(self) -> None:
        self._offers.clear()
        self.mesos.drop_connection()
        self.mesos.down.clear()
        self.scheduler = Scheduler(SETTINGS, self.store.snapshot(), new_id=self.new_id)

    def command(self, make: Any, **fields: Any) -> None:
        if make in (m.StartUpdate, m.StartRestart):
            fields["update_id"] = self._updates()
        event = make(at=self.mesos.now, **fields)
        before = self.scheduler.counts(), self.scheduler.session()
        try:
            self.take(event)
        except GatewayError:
            assert equal_state(self.store, self.scheduler), "a refused command changed something"
            assert (self.scheduler.counts(), self.scheduler.session().offers) == (
                before[0],
                before[1].offers,
            )

    def tick(self) -> None:
        deadline = self.scheduler.next_deadline()
        if deadline is not None and deadline <= self.mesos.now:
            self.take(m.Tick(at=self.mesos.now))


class Faults(RuleBasedStateMachine):
    # How often which message has met which fault, over all examples: a test of this test.
    met: Counter[tuple[str, str]] = Counter()
    histories = 0

    @initialize(partition_aware=st.booleans(), hopeless=st.booleans())
    def start(self, partition_aware: bool, hopeless: bool) -> None:
        self.mesos = Mesos(partition_aware=partition_aware)
        self.mesos.now = START
        self.gateway = Gateway(self.mesos)
        for which in range(4 if hopeless else 3):
            self.create(which, 2, 1)
        self.calm(3, 1.0)

    # -- what users do --

    @rule(which=st.integers(0, 3), instances=st.integers(1, 3), version=number)
    def create(self, which: int, instances: int, version: int) -> None:
        self.gateway.command(m.CreateJob, spec=job(which, instances, version))

    @rule(which=st.integers(0, 3), instance=st.none() | st.integers(0, 2))
    def kill(self, which: int, instance: int | None) -> None:
        chosen = None if instance is None else (instance,)
        self.gateway.command(m.KillTasks, key=KEYS[which], instances=chosen)

    @rule(which=st.integers(0, 1), instances=st.integers(1, 3), version=number)
    def update(self, which: int, instances: int, version: int) -> None:
        self.gateway.command(m.StartUpdate, spec=job(which, instances, version))

    @rule(which=st.integers(0, 2), instance=st.none() | st.integers(0, 2))
    def restart(self, which: int, instance: int | None) -> None:
        chosen = None if instance is None else (instance,)
        settings = UpdateSettings(watch_secs=20)
        self.gateway.command(m.StartRestart, key=KEYS[which], instances=chosen, settings=settings)

    @rule(which=st.integers(0, 1), what=st.sampled_from([m.AbortUpdate, m.PauseUpdate, m.ResumeUpdate]))
    def steer(self, which: int, what: Any) -> None:
        self.gateway.command(what, key=KEYS[which])

    # -- what the network does --

    @rule(wire=wires, n=st.integers(1, 9))
    def deliver(self, wire: str, n: int) -> None:
        for _ in range(n):
            if self._wire(wire):
                self._pass(wire, 0)

    @rule(
        seed=st.integers(0, 2**16),
        often=st.sampled_from([0.1, 0.3, 0.6]),
        seconds=st.sampled_from([0.0, 1.0, 11.0]),
        taken_back=st.none() | st.integers(0, 2),
    )
    def rough(self, seed: int, often: float, seconds: float, taken_back: int | None) -> None:
        """Everybody does what is due, and any message may meet its fate."""
        if self.mesos.stream is None:
            self.mesos.subscribe()
        chance = Random(seed)
        late: list[tuple[str, tuple[int, Any]]] = []
        for _ in range(3):
            self._round(deliver=False)
            if taken_back is not None:
                self.mesos.rescind(taken_back)
            # A message that is repeated again and again has to end some time.
            for _ in range(100):
                if not (self.mesos.up or self.mesos.down):
                    break
                wire = "calls" if self.mesos.up else "events"
                fate = chance.choice(FATES) if chance.random() < often else "pass"
                self._meet(wire, fate, late)
        self.mesos.now += seconds
        for wire, message in late:
            self._wire(wire).append(message)

    def _meet(self, wire: str, fate: str, late: list[tuple[str, tuple[int, Any]]]) -> None:
        messages = self._wire(wire)
        index = len(messages) - 1 if fate == "swap" else 0
        for concerned in {0, index}:
            self.met[fate, type(messages[concerned][1]).__name__] += 1
        if fate == "drop":
            messages.pop(0)
        elif fate == "delay":
            late.append((wire, messages.pop(0)))
        else:
            if fate == "repeat":
                messages.append(messages[0])
            self._pass(wire, index)

    def _wire(self, name: str) -> list[Any]:
        return self.mesos.up if name == "calls" else self.mesos.down

    def _pass(self, wire: str, index: int) -> None:
        stream, message = self._wire(wire).pop(index)
        if wire == "calls":
            self.mesos.call(stream, message)
        elif stream == self.mesos.stream:
            self.gateway.take(message)

    @rule(kind=st.sampled_from(["connection", "connection", "master"]))
    def lose_master(self, kind: str) -> None:
        if kind == "master":
            self.mesos.restart_master()
        else:
            self.mesos.drop_connection()
        self.gateway.take(m.Disconnected(at=self.mesos.now))

    # -- what the cluster does --

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 61.0, 200.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.mesos.now += seconds
        self.gateway.tick()

    @rule(times=st.integers(1, 3), split=st.booleans())
    def work(self, times: int, split: bool) -> None:
        for _ in range(times):
            self._round(split, deliver=False)

    @rule(rounds=st.integers(1, 4), seconds=st.sampled_from([1.0, 10.0]))
    def calm(self, rounds: int, seconds: float) -> None:
        """A moment in which nothing goes wrong, so that there is something to go wrong with."""
        if self.mesos.stream is None:
            self.mesos.subscribe()
        for _ in range(rounds):
            self._round()
            self.mesos.now += seconds

    @rule(n=number, only_batch=st.booleans())
    def fail_task(self, n: int, only_batch: bool) -> None:
        self.mesos.fail_task(n, only_batch)

    @rule(n=number)
    def rescind(self, n: int) -> None:
        self.mesos.rescind(n)

    @rule(n=number, kind=st.sampled_from(["part", "rejoin", "rejoin", "reboot"]))
    def change_agent(self, n: int, kind: str) -> None:
        agents = list(self.mesos.agents.values())
        getattr(self.mesos, kind)(agents[n % len(agents)])

    # -- what the gateway's machine does --

    @precondition(lambda self: self.gateway.crash is None)
    @rule(when=st.sampled_from(["before the commit", "after the commit", "between two calls"]))
    def crash_soon(self, when: str) -> None:
        self.gateway.crash = when

    # -- what must hold --

    @invariant()
    def is_sound(self) -> None:
        if not hasattr(self, "gateway"):
            return
        self.gateway.scheduler.validate()
        assert equal_state(self.gateway.store, self.gateway.scheduler)
        for agent in self.mesos.agents.values():
            assert sum(t.task.config.resources.cpus for t in agent.live()) <= agent.cpus
            ports = [p for t in agent.live() for p in t.task.ports.values()]
            assert len(ports) == len(set(ports))
        tasks, updates = self.gateway.store.tasks, self.gateway.store.updates
        # A task whose agent has not said that it ended may be LOST to us, and nothing else.
        for task in self.mesos.live_tasks():
            known = tasks.get(task.task_id)
            assert known is None or known.state not in TERMINAL - {TaskState.LOST}, known
        for task in tasks.values():
            check_successor(task, tasks)
        for update in updates.values():
            check_batch(update)
        self._check_kills()

    def _check_kills(self) -> None:
        """A task that was told to end is told again, unless nobody can be told now."""
        now, scheduler = self.mesos.now, self.gateway.scheduler
        deadline = scheduler.next_deadline()
        if not scheduler.session().registered or (deadline is not None and deadline <= now):
            return
        for task in self.gateway.store.tasks.values():
            if task.state in ENDING:
                told = next(event.at for event in task.events if event.state in ENDING)
                due = [told, *(at for after in KILLS_AFTER if (at := task.since + after) <= now)]
                assert self.gateway.kills.get(task.task_id, 0.0) >= due[-1], (task, now)

    def teardown(self) -> None:
        if hasattr(self, "gateway"):
            Faults.histories += 1
            self._heal()

    def _heal(self) -> None:
        """The faults stop; within a bounded time what is wanted runs, once, and nothing else."""
        self.gateway.crash = None
        for agent in list(self.mesos.agents.values()):
            self.mesos.rejoin(agent)
        self.mesos.up.clear()
        self.gateway.restart()
        self.mesos.subscribe()
        end = self.mesos.now + BOUND_SECS
        while (why := self._unsettled()) and self.mesos.now < end:
            self._round()
            for key in self.gateway.scheduler.list_jobs("devcluster", "ann"):
                self._resume(key)
            self.is_sound()
            deadline = self.gateway.scheduler.next_deadline()
            step = 2.0 if deadline is None else min(10.0, max(1.0, deadline - self.mesos.now))
            self.mesos.now += step
        assert not why, f"after {BOUND_SECS} s: {why}"

    def _resume(self, key: JobKey) -> None:
        updates = self.gateway.scheduler.get_job(key).updates
        if updates and updates[0].status is UpdateStatus.ROLL_BACK_PAUSED:
            self.gateway.command(m.AbortUpdate, key=key)
        elif updates and updates[0].status is UpdateStatus.ROLL_FORWARD_PAUSED:
            self.gateway.command(m.ResumeUpdate, key=key)

    def _round(self, split: bool = False, *, deliver: bool = True) -> None:
        """Everybody does what is due; everything is delivered, in order, until the wires are empty."""
        self.mesos.work()
        self.mesos.allocate(split)
        self.gateway.tick()
        while deliver and (self.mesos.up or self.mesos.down):
            self._pass("calls" if self.mesos.up else "events", 0)

    def _unsettled(self) -> str:
        """Returns what is not yet as it is wanted, "" if everything is."""
        tasks = {task.task_id: task for task in self.gateway.store.tasks.values()}
        live = self.mesos.live_tasks()
        for task in live:
            if task.task_id not in tasks or tasks[task.task_id].state not in ON_AGENT:
                return f"{task.task_id} runs and should not"
        for agent in self.mesos.agents.values():
            for entry in agent.tasks.values():
                if entry.updates:
                    return f"{entry.updates[0]} is not acknowledged"
        running = {task.task_id for task in live}
        for task in tasks.values():
            if task.key == HOPELESS and task.state == "PENDING":
                continue
            if task.state not in TERMINAL and task.state != "RUNNING":
                return f"{task.task_id} is {task.state}"
            if task.state == "RUNNING" and task.task_id not in running:
                return f"{task.task_id} does not run"
        for record in self.gateway.store.jobs.values():
            if record.spec.key == HOPELESS:
                continue
            if record.wanted and not record.spec.config.service:
                return f"{record.spec.key} has not finished"
            of_job = {t.instance for t in live if t.key == record.spec.key}
            if of_job != set(record.wanted):
                return f"{record.spec.key} runs {of_job}, wanted are {set(record.wanted)}"
        for update in self.gateway.store.updates.values():
            if update.is_active:
                return f"{update.update_id} of {update.key} is {update.status}"
        return ""


def ancestors(task: Task, tasks: dict[str, Task]) -> Iterator[Task]:
    """Yields the earlier tries of the same config, the last one first, as far as they are kept."""
    while (before := tasks.get(task.ancestor_id or "")) is not None and before.config == task.config:
        if any(event.state in ENDING for event in before.events):
            return
        yield before
        task = before


def check_successor(task: Task, tasks: dict[str, Task]) -> None:
    """One that failed soon after it began is tried again after a wait, and not too often."""
    failed = [before for before in ancestors(task, tasks) if before.state is TaskState.FAILED]
    assert task.config.service or len(failed) < task.config.max_task_failures, task
    before = next(ancestors(task, tasks), None)
    if before is None or before.state is not TaskState.FAILED:
        return
    if before.events[-1].at - before.events[-2].at < SETTINGS.flapping_secs:
        assert task.events[0].state is TaskState.THROTTLED, task
        assert task.throttle_until >= task.events[0].at + SETTINGS.throttle_initial_secs


def check_batch(update: Update) -> None:
    """No more instances change at once than the job's author allows."""
    changing = {}
    for event in update.instance_events:
        changing[event.instance] = event.action
    begun = [i for i, action in changing.items() if action in CHANGING]
    assert len(begun) <= max(update.settings.group_sizes), update


# What each fault must have met. (HEARTBEAT is the driver's: tests/faults/test_master_failover.py.)
MESSAGES = (m.Registered, m.OffersReceived, m.OfferRescinded, m.StatusReceived)
CALLS = (m.Launch, m.Kill, m.Acknowledge)
EVERY = {(how, k.__name__) for how in FATES for k in (*MESSAGES, *CALLS)}


@pytest.mark.slow
def test_whatever_goes_wrong_the_state_is_sound_and_in_the_end_everything_wanted_runs_once(
    measured: Measured,
) -> None:
    Faults.met.clear()
    Faults.histories = 0
    run_state_machine_as_test(
        Faults,
        settings=hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None),
    )
    missed = EVERY - Faults.met.keys()
    assert not missed, (sorted(missed), Faults.met)
    measured("F2 histories of up to 50 steps", Faults.histories)
    kept = sum(count for (fate, _), count in Faults.met.items() if fate != "pass")
    measured("F2 messages dropped, repeated, swapped or late", kept)
