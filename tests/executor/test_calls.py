"""Calls to running tasks: the machine, against a framework and a network that loses what it likes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import calls
from executor.calls import Action, Begin, Calls, End, Send
from executor.messages import (
    CHUNK,
    KEPT_SECS,
    MOST_INPUT,
    MOST_OUTPUT,
    WINDOW,
    Cancel,
    Fetch,
    Part,
    Reply,
    Run,
    decode,
    encode,
)

RUN = Run("c1", "t1", ("echo", "hello"))


def replies(actions: list[Action]) -> list[Reply]:
    return [a.reply for a in actions if isinstance(a, Send)]


def begun(actions: list[Action]) -> list[Run]:
    return [a.run for a in actions if isinstance(a, Begin)]


def ended_call(output: list[bytes], code: int | None = 0, problem: str = "") -> Calls:
    machine = Calls()
    machine.received(RUN, 0)
    for data in output:
        machine.output("c1", "stdout", data, 0)
    machine.ended("c1", code, problem, 0)
    return machine


def test_a_run_is_answered_at_once_and_its_output_when_it_is_gathered() -> None:
    machine = Calls()
    actions = machine.received(RUN, 0)
    assert begun(actions) == [RUN]
    assert replies(actions) == [Reply("c1", 0)]
    assert machine.output("c1", "stdout", b"a", 1.0) == []
    assert machine.output("c1", "stderr", b"b", 1.01) == []
    assert machine.tick(1.0 + calls.GATHER / 2) == []
    assert machine.next_deadline() == 1.0 + calls.GATHER
    assert replies(machine.tick(1.0 + calls.GATHER)) == [
        Reply("c1", 1, "stdout", b"a"),
        Reply("c1", 2, "stderr", b"b"),
    ]
    assert replies(machine.ended("c1", 3, "", 2)) == [Reply("c1", 3, final=True, code=3)]


def test_a_run_is_never_carried_out_twice() -> None:
    machine = ended_call([b"x"])
    assert begun(machine.received(RUN, 1)) == []
    everything = [Reply("c1", 0), Reply("c1", 1, data=b"x"), Reply("c1", 2, final=True, code=0)]
    assert replies(machine.received(RUN, 1)) == everything
    assert replies(machine.received(Fetch("c1", 2), 1)) == everything[2:]
    assert machine.received(Fetch("c1", 3), 1) == []
    assert machine.kept == 0
    again = machine.received(RUN, 2)
    assert begun(again) == []
    assert "not kept any longer" in replies(again)[0].problem
    assert replies(again)[0].final


def test_what_nobody_asks_for_is_ended_and_forgotten() -> None:
    machine = Calls()
    machine.received(RUN, 0)
    machine.received(Part("c2", 0, b"x"), 0)
    machine.received(Fetch("c1", 1), 10)
    assert machine.tick(KEPT_SECS + 9.9) == []
    assert machine.tick(KEPT_SECS + 10) == [End("c1")]
    assert machine.next_deadline() is None
    assert machine.kept == 0
    assert machine.ended("c1", None, "killed", KEPT_SECS + 11) == []
    assert begun(machine.received(RUN, KEPT_SECS + 12)) == []


def test_a_cancelled_call_is_killed_and_never_begun() -> None:
    machine = Calls()
    machine.received(RUN, 0)
    assert machine.received(Cancel("c1"), 1) == [End("c1")]
    assert machine.received(Cancel("c1"), 1) == []
    assert machine.output("c1", "stdout", b"late", 1) == []
    machine.received(Cancel("c2"), 1)
    assert begun(machine.received(Run("c2", "t1", ("true",)), 2)) == []


def test_a_call_that_is_not_known_is_said_to_be_so() -> None:
    machine = Calls()
    assert begun(machine.received(RUN, 0)) == [RUN]
    machine = Calls()  # that of an executor which has started again
    (reply,) = replies(machine.received(Fetch("c1", 3), 0))
    assert (reply.number, reply.final, reply.code) == (3, True, None)
    assert reply.problem


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (Run("c1", "t1", ()), "empty"),
        (Run("c1", "t1", ("",)), "empty"),
        (Run("c1", "t1", ("echo", "a\0b")), "NUL"),
        (Run("c1", "t1", ("cat",), parts=MOST_INPUT + 1), "longer than 16 MiB"),
    ],
)
def test_what_cannot_be_run_is_answered(run: Run, problem: str) -> None:
    actions = Calls().received(run, 0)
    assert begun(actions) == []
    assert problem in replies(actions)[-1].problem
    assert replies(actions)[-1].final


def test_too_many_commands_at_once_are_refused() -> None:
    machine = Calls()
    for number in range(calls.MOST_RUNNING):
        assert begun(machine.received(Run(str(number), "t1", ("sleep", "9")), 0))
    actions = machine.received(Run("one more", "t1", ("true",)), 0)
    assert "already" in replies(actions)[-1].problem
    machine.ended("0", 0, "", 1)
    assert begun(machine.received(Run("another", "t1", ("true",)), 1))


def test_output_beyond_the_bound_is_dropped_and_said_so() -> None:
    machine = Calls()
    machine.received(RUN, 0)
    got = bytearray()
    for _ in range(MOST_OUTPUT // CHUNK + 5):
        for reply in replies(machine.output("c1", "stdout", b"x" * CHUNK, 0)):
            got += reply.data
            machine.received(Fetch("c1", reply.number + 1), 0)
    final = replies(machine.ended("c1", 0, "", 0))[-1]
    assert len(got) == MOST_OUTPUT
    assert final.code == 0
    assert "dropped" in final.problem


def test_without_a_reader_no_more_than_a_window_is_sent() -> None:
    machine = Calls()
    machine.received(RUN, 0)
    sent = [r for _ in range(100) for r in replies(machine.output("c1", "stdout", b"x" * CHUNK, 0))]
    assert len(sent) == WINDOW - 1  # and chunk 0
    assert len(replies(machine.received(Fetch("c1", 5), 1))) == WINDOW


def test_the_calls_together_keep_no_more_than_the_bound() -> None:
    machine = Calls()
    for number in range(10):
        call = str(number)
        machine.received(Run(call, "t1", ("yes",)), 0)
        machine.output(call, "stdout", b"x" * MOST_OUTPUT, 0)
        machine.received(Part(f"p{number}", 0, b"x" * CHUNK), 0)
    assert machine.kept <= calls.MOST_KEPT


@given(st.binary(max_size=60), st.data())
def test_input_comes_together_from_its_parts_or_is_waited_for(data: bytes, draw: st.DataObject) -> None:
    machine = Calls()
    pieces = [Part("c1", o, data[o : o + 7]) for o in range(0, len(data), 7)]
    sent = draw.draw(st.lists(st.sampled_from(pieces), max_size=20)) if pieces else []
    for part in sent:
        machine.received(part, 0)
    run = Run("c1", "t1", ("cat",), parts=len(data))
    actions = machine.received(run, 1)
    if {p.offset for p in sent} == {p.offset for p in pieces}:
        assert [r.stdin for r in begun(actions)] == [data]
    else:
        assert actions == []
        for part in pieces:
            machine.received(part, 2)
        assert [r.stdin for r in begun(machine.received(run, 2))] == [data]


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=30))), st.integers(0)
)
def test_all_output_arrives_whatever_is_lost_on_the_way(
    output: list[tuple[calls.Stream, bytes]], seed: int
) -> None:
    chance = random.Random(seed)
    machine, at, runs = Calls(), 0.0, 0
    got: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    wanted: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    heard = 0
    final: Reply | None = None
    todo = [*output, None]
    while final is None:
        at += chance.random()
        actions: list[Action] = []
        match chance.randrange(4):
            case 0 if heard == 0:
                actions = machine.received(RUN, at)
            case 1 if heard:
                actions = machine.received(Fetch("c1", heard - chance.randrange(2)), at)
            case 2 if runs and todo:
                item = todo.pop(0)
                if item is None:
                    actions = machine.ended("c1", 7, "", at)
                else:
                    wanted[item[0]] += item[1]
                    actions = machine.output("c1", item[0], item[1], at)
            case _:
                actions = machine.tick(at)
        runs += len(begun(actions))
        for reply in replies(actions):
            assert decode(encode(reply)) == reply
            if chance.random() < 0.5 and reply.number == heard:
                heard += 1
                got[reply.stream] += reply.data
                final = reply if reply.final else None
    assert runs == 1
    assert final.code == 7
    assert got == wanted
