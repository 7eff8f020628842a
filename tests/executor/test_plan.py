"""The machine that decides which processes run: its rules one by one, then under chance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.plan import (
    Action,
    Destroy,
    Outcome,
    Phase,
    ProcessStatus,
    Start,
    TaskPlan,
    Terminate,
)
from executor.task import OrderConstraint, ProcessSpec, TaskSpec


def spec(name: str, **more: object) -> ProcessSpec:
    return ProcessSpec(name=name, cmdline="true", **{"min_duration": 0, **more})


def task(*processes: ProcessSpec, order: tuple[str, ...] = (), **more: object) -> TaskSpec:
    constraints = (OrderConstraint(order),) if order else ()
    return TaskSpec(processes=processes, constraints=constraints, **more)


def started(actions: list[Action]) -> list[str]:
    return [a.process for a in actions if isinstance(a, Start)]


def ok(plan: TaskPlan, name: str, at: float = 0.0) -> list[Action]:
    return plan.exited(name, True, "exited with code 0", at)


def bad(plan: TaskPlan, name: str, at: float = 0.0) -> list[Action]:
    return plan.exited(name, False, "exited with code 3", at)


def test_processes_without_an_order_start_together_and_the_task_succeeds_with_them() -> None:
    plan = TaskPlan(task(spec("a"), spec("b")))
    assert started(plan.begin(0)) == ["a", "b"]
    assert ok(plan, "a") == []
    assert not plan.done
    ok(plan, "b")
    assert plan.done
    assert (plan.outcome, plan.message) == (Outcome.FINISHED, "")


def test_an_order_is_kept() -> None:
    plan = TaskPlan(task(spec("c"), spec("b"), spec("a"), order=("a", "b", "c")))
    assert started(plan.begin(0)) == ["a"]
    assert started(ok(plan, "a")) == ["b"]
    assert started(ok(plan, "b")) == ["c"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (task(spec("a"), spec("b"), order=("a", "b", "a")), "in a circle"),
        (task(spec("a"), order=("a", "a")), "in a circle"),
        (task(spec("a"), spec("a")), "the same name: a"),
        (task(spec("a"), order=("a", "x")), "does not have: x"),
        (task(spec("a/b")), "is not a name"),
        (task(spec("..")), "is not a name"),
    ],
)
def test_a_task_that_cannot_run_is_refused(wrong: TaskSpec, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TaskPlan(wrong)


def test_a_failure_is_repeated_until_max_failures_and_not_before_min_duration() -> None:
    plan = TaskPlan(task(spec("a", max_failures=2, min_duration=5)))
    plan.begin(0)
    assert bad(plan, "a", at=1) == []
    assert plan.next_deadline() == 6
    assert plan.tick(5.9) == []
    assert plan.tick(6) == [Start("a", 1)]
    bad(plan, "a", at=7)
    assert plan.done
    assert plan.outcome is Outcome.FAILED
    assert plan.message == "process a exited with code 3 (2 failures)"


def test_max_failures_zero_repeats_for_ever() -> None:
    plan = TaskPlan(task(spec("a", max_failures=0)))
    plan.begin(0)
    for n in range(50):
        assert bad(plan, "a", at=n) == [Start("a", n + 1)]


def test_a_daemon_starts_again_after_success_and_holds_the_task() -> None:
    plan = TaskPlan(task(spec("d", daemon=True), spec("a")))
    plan.begin(0)
    assert started(ok(plan, "d")) == ["d"]
    ok(plan, "a")
    assert plan.phase is Phase.ACTIVE


def test_an_ephemeral_daemon_does_not_hold_the_task_and_is_terminated() -> None:
    plan = TaskPlan(task(spec("d", daemon=True, ephemeral=True), spec("a"), finalization_wait=30))
    plan.begin(0)
    assert ok(plan, "a", at=10) == [Terminate(("d",))]
    assert plan.phase is Phase.CLEANING
    assert plan.next_deadline() == 40
    bad(plan, "d", at=11)
    assert plan.done
    assert plan.outcome is Outcome.FINISHED


def test_an_ephemeral_failure_does_not_fail_the_task() -> None:
    plan = TaskPlan(task(spec("e", ephemeral=True), spec("a")))
    plan.begin(0)
    bad(plan, "e")
    assert plan.phase is Phase.ACTIVE
    ok(plan, "a")
    assert plan.outcome is Outcome.FINISHED


@pytest.mark.parametrize("how", ["success", "failure", "kill"])
def test_final_processes_run_however_the_task_ends(how: str) -> None:
    plan = TaskPlan(task(spec("a"), spec("f", final=True)))
    assert started(plan.begin(0)) == ["a"]
    if how == "kill":
        assert plan.terminate(Outcome.KILLED, "killed on request", 1) == [Terminate(("a",))]
        actions = bad(plan, "a", 2)
    else:
        actions = ok(plan, "a") if how == "success" else bad(plan, "a")
    assert started(actions) == ["f"]
    assert not plan.done
    bad(plan, "f", 3)
    assert plan.done
    assert (
        plan.outcome
        is {
            "success": Outcome.FINISHED,
            "failure": Outcome.FAILED,
            "kill": Outcome.KILLED,
        }[how]
    )


def test_finalization_wait_is_shared_by_termination_and_final_processes() -> None:
    plan = TaskPlan(task(spec("a"), spec("f", final=True), finalization_wait=10))
    plan.begin(0)
    plan.terminate(Outcome.KILLED, "", 100)
    bad(plan, "a", 106)
    assert plan.tick(109.9) == []
    assert plan.tick(110) == [Destroy()]
    assert plan.done


def test_a_deadline_shortens_what_is_left() -> None:
    plan = TaskPlan(task(spec("a"), finalization_wait=30))
    plan.begin(0)
    plan.terminate(Outcome.KILLED, "first", 0)
    plan.terminate(Outcome.KILLED, "second", 1, within=2)
    assert plan.next_deadline() == 3
    assert plan.tick(3) == [Destroy()]
    assert plan.message == "first"


def test_a_task_that_stops_starts_nothing_and_ends_when_all_have_gone() -> None:
    plan = TaskPlan(task(spec("a", max_failures=0), spec("b"), spec("f", final=True)))
    plan.begin(0)
    assert plan.stop(Outcome.KILLED, "", 1) == []
    assert bad(plan, "a", 2) == []
    assert started(ok(plan, "b", 3)) == ["f"]


def test_a_task_killed_before_it_began_ends_at_once() -> None:
    plan = TaskPlan(task(spec("a"), spec("f", final=True)))
    assert plan.terminate(Outcome.KILLED, "killed on request", 0) == []
    assert plan.done
    assert plan.begin(1) == []


def test_max_concurrency_bounds_what_runs() -> None:
    plan = TaskPlan(task(*(spec(str(n)) for n in range(5)), max_concurrency=2))
    assert started(plan.begin(0)) == ["0", "1"]
    assert started(ok(plan, "1")) == ["2"]


def test_the_task_fails_only_with_max_failures_failed_processes() -> None:
    plan = TaskPlan(task(spec("a"), spec("b"), spec("c"), max_failures=2))
    plan.begin(0)
    bad(plan, "a")
    assert plan.phase is Phase.ACTIVE
    assert bad(plan, "b") == [Terminate(("c",))]
    assert plan.message == "process a exited with code 3; process b exited with code 3"


def test_a_process_whose_predecessor_failed_for_good_fails_the_task() -> None:
    plan = TaskPlan(task(spec("a"), spec("b"), spec("c"), order=("a", "b", "c"), max_failures=5))
    plan.begin(0)
    bad(plan, "a")
    assert plan.outcome is Outcome.FAILED
    assert plan.message.endswith("never started for that: b, c")


def test_a_long_order_is_no_problem() -> None:
    names = [str(n) for n in range(3000)]
    plan = TaskPlan(task(*map(spec, names), order=tuple(names), max_failures=2))
    plan.begin(0)
    bad(plan, "0")
    assert plan.outcome is Outcome.FAILED


# -- under chance --

PROCESS = st.builds(
    lambda max_failures, daemon, ephemeral, final, min_duration: {
        "max_failures": max_failures,
        "daemon": daemon,
        "ephemeral": ephemeral,
        "final": final,
        "min_duration": min_duration,
    },
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)


@st.composite
def tasks(draw: st.DrawFn) -> TaskSpec:
    processes = [
        spec(f"p{n}", **p) for n, p in enumerate(draw(st.lists(PROCESS, min_size=1, max_size=6)))
    ]
    names = [p.name for p in processes]
    # Orders that agree with one permutation have no circle.
    line = draw(st.permutations(names))
    orders = draw(st.lists(st.lists(st.sampled_from(names), unique=True, max_size=4), max_size=3))
    constraints = tuple(OrderConstraint(tuple(sorted(o, key=line.index))) for o in orders)
    return TaskSpec(
        processes=tuple(draw(st.permutations(processes))),
        constraints=constraints,
        max_failures=draw(st.integers(0, 3)),
        max_concurrency=draw(st.integers(0, 3)),
        finalization_wait=draw(st.integers(0, 10)),
    )


class Follower:
    """Does what the plan says, without processes, and checks every step."""

    def __init__(self, wanted: TaskSpec) -> None:
        self.task = wanted
        self.plan = TaskPlan(wanted)
        self.specs = {p.name: p for p in wanted.processes}
        self.before = {p.name: set() for p in wanted.processes}
        for constraint in wanted.constraints:
            for one, other in zip(constraint.order, constraint.order[1:], strict=False):
                if self.specs[one].final == self.specs[other].final:
                    self.before[other].add(one)
        self.alive: set[str] = set()
        self.succeeded: set[str] = set()
        self.failures = dict.fromkeys(self.specs, 0)
        self.runs = dict.fromkeys(self.specs, 0)
        self.ended: dict[str, float] = {}
        self.terminated: float | None = None
        self.at = 0.0

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Destroy):
                self.alive.clear()
            elif isinstance(action, Terminate):
                assert set(action.processes) <= self.alive
                self.terminated = self.at
            else:
                self.check_start(action)
        self.check_state()

    def check_start(self, action: Start) -> None:
        name, one = action.process, self.specs[action.process]
        assert name not in self.alive
        assert action.run == self.runs[name]
        assert self.before[name] <= self.succeeded
        assert one.max_failures == 0 or self.failures[name] < one.max_failures
        assert name not in self.ended or self.at >= self.ended[name] + one.min_duration
        assert self.task.max_concurrency == 0 or len(self.alive) < self.task.max_concurrency
        if one.final:
            assert not any(not self.specs[n].final for n in self.alive)
            assert self.plan.phase is Phase.FINALIZING
        else:
            assert self.plan.phase is Phase.ACTIVE
        self.runs[name] += 1
        self.alive.add(name)

    def check_state(self) -> None:
        plan = self.plan
        if not plan.done:
            assert set(plan.running) == self.alive
            deadline = plan.next_deadline()
            # It never waits for nothing: something runs, or a moment is known.
            assert plan.phase is Phase.WAITING or self.alive or deadline is not None
        assert (plan.outcome is not None) >= plan.done
        counting = [p for p in self.specs.values() if not p.ephemeral and not p.final]
        failed = [p for p in counting if p.max_failures and self.failures[p.name] >= p.max_failures]
        if plan.outcome is Outcome.FAILED:
            # An ephemeral process fails the task only by what never starts because of it.
            blamed = failed or [p for p in self.specs.values() if p.ephemeral and p.max_failures]
            assert any(f"process {p.name} " in plan.message for p in blamed)
        if plan.outcome is Outcome.FINISHED:
            assert not self.task.max_failures or len(failed) < self.task.max_failures

    def end(self, name: str, good: bool) -> None:
        self.alive.discard(name)
        self.ended[name] = self.at
        one = self.specs[name]
        if not good:
            self.failures[name] += 1
        elif one.final or not one.daemon:
            self.succeeded.add(name)
        self.do(
            self.plan.exited(name, good, "exited with code 0" if good else "exited with code 1", self.at)
        )


@settings(max_examples=300)
@given(tasks(), st.data())
def test_any_task_keeps_the_rules_at_every_step_and_ends_when_it_is_told_to(
    wanted: TaskSpec, data: st.DataObject
) -> None:
    follower = Follower(wanted)
    follower.do(follower.plan.begin(0.0))
    for _ in range(data.draw(st.integers(0, 30))):
        if follower.plan.done:
            break
        follower.at += data.draw(st.sampled_from([0.0, 0.5, 3.0]))
        if follower.alive and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(follower.alive)))
            follower.end(name, data.draw(st.booleans()))
        else:
            follower.do(follower.plan.tick(follower.at))
    if not follower.plan.done:
        begun = follower.at
        settled = follower.plan.outcome
        if data.draw(st.booleans()):
            follower.do(follower.plan.stop(Outcome.KILLED, "killed", follower.at))
        follower.do(follower.plan.terminate(Outcome.KILLED, "killed", follower.at))
        assert follower.plan.outcome is (settled or Outcome.KILLED)
        while not follower.plan.done:
            deadline = follower.plan.next_deadline()
            if follower.alive and data.draw(st.booleans()):
                follower.end(sorted(follower.alive)[0], good=data.draw(st.booleans()))
            else:
                assert deadline is not None
                follower.at = max(follower.at, deadline)
                follower.do(follower.plan.tick(follower.at))
        assert follower.at <= begun + wanted.finalization_wait
    assert not follower.alive or follower.plan.phase is not Phase.DONE


@given(tasks())
def test_a_task_whose_processes_all_succeed_finishes(wanted: TaskSpec) -> None:
    follower = Follower(wanted)
    follower.do(follower.plan.begin(0.0))
    daemons = {p.name for p in wanted.processes if p.daemon and not p.ephemeral and not p.final}
    blocked = {
        n for n, before in follower.before.items() if any(follower.specs[b].daemon for b in before)
    }
    if daemons or blocked or (wanted.max_concurrency and any(p.daemon for p in wanted.processes)):
        return  # held by a daemon, as it should be
    for _ in range(100):
        if follower.plan.done:
            break
        once = [
            n
            for n in follower.alive
            if not follower.specs[n].daemon or follower.plan.phase != Phase.ACTIVE
        ]
        if once:
            follower.end(sorted(once)[0], good=True)
        else:
            deadline = follower.plan.next_deadline()
            assert deadline is not None
            follower.at = max(follower.at, deadline)
            follower.do(follower.plan.tick(follower.at))
    assert follower.plan.outcome is Outcome.FINISHED
    for process in wanted.processes:
        if not process.ephemeral and not process.final:
            assert follower.plan.processes[process.name].status is ProcessStatus.SUCCEEDED
