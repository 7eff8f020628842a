"""Where a gang goes: never where it does not fit, and wherever first-fit decreasing would put it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.core.arranging import Batch, arrange, batches
from framework.core.matching import Ask, Room, Tally, joins, take, vetoes
from framework.model.jobs import TaskConfig
from framework.model.tasks import Task, TaskEvent, TaskState
from tests.framework.core.rig import KEY, config, offer

NEEDS = st.builds(
    config,
    cpus=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
    mem_mb=st.sampled_from([64, 1024, 2048]),
    data_disks=st.integers(0, 2),
    limit_among=st.sampled_from(["", "", "data"]),
    tags=st.sampled_from([(), ("data",)]),
) | st.builds(
    config,
    disk_names=st.sampled_from([("d1",), ("d2", "d0")]),
    constraints=st.sampled_from([(), (("host", "a0.example"),), (("host", "limit:1"),)]),
)
ROOMS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 2.0, 3.0, 4.0]),
        st.sampled_from([512.0, 2048.0, 4096.0]),
        st.sampled_from([(), ("d1",), ("d0", "d1", "d2")]),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda given: [
        Room.of([offer(n, f"a{n}", cpus=cpus, mem_mb=mem, disks=disks)])
        for n, (cpus, mem, disks) in enumerate(given)
    ]
)


def tasks_of(configs: Sequence[TaskConfig]) -> list[Task]:
    pending = (TaskEvent(1.0, TaskState.PENDING),)
    return [
        Task(f"t{n}", KEY, n, config, TaskState.PENDING, pending) for n, config in enumerate(configs)
    ]


def counted() -> dict[tuple[str, str], Tally]:
    return {("host", ""): Tally(), ("host", "data"): Tally()}


def copied(rooms: Sequence[Room]) -> dict[str, Room]:
    return {room.agent_id: msgspec.structs.replace(room) for room in rooms}


def first_fit_decreasing(parts: Sequence[Batch], rooms: Sequence[Room]) -> bool:
    left, crowd = copied(rooms), counted()
    needs = [part.ask.config.resources for part in parts]
    order = sorted(range(len(parts)), key=lambda n: -(needs[n].cpus + needs[n].mem_mb / 4096.0))
    for ask in (parts[n].ask for n in order for _ in parts[n].tasks):
        room = next((room for room in left.values() if not vetoes(ask, room, crowd)), None)
        if room is None:
            return False
        take(ask, room, 0)
        joins(crowd, ask.config, room)
    return True


@settings(max_examples=400, deadline=None)
@given(st.lists(NEEDS, min_size=1, max_size=7), ROOMS)
def test_what_is_arranged_fits_and_what_fits_largest_first_is_arranged(
    configs: list[TaskConfig], rooms: list[Room]
) -> None:
    tasks = tasks_of(configs)
    parts = batches(tasks, lambda task: Ask(task.config))
    before = [msgspec.structs.asdict(room) for room in rooms]
    found = arrange(parts, rooms, counted(), {})
    assert [msgspec.structs.asdict(room) for room in rooms] == before, "what is offered is not touched"
    left, crowd = copied(rooms), counted()
    for place in found.places:
        room = left[place.agent_id]
        assert vetoes(Ask(place.task.config), room, crowd) == ()
        take(place.ask, room, 0)
        joins(crowd, place.task.config, room)
    assert len({place.task.task_id for place in found.places}) == len(found.places)
    if first_fit_decreasing(parts, rooms):
        assert len(found.places) == len(tasks)
    most = arrange(parts, rooms, counted(), {}, whole=False)
    assert len(found.places) <= len(most.places) <= len(tasks)
    if len(most.places) == len(tasks):
        assert found.places == most.places


def test_what_differs_only_in_what_it_runs_is_looked_at_once() -> None:
    tasks = tasks_of([config(str(n)) for n in range(100)])
    parts = batches(tasks, lambda task: Ask(task.config))
    assert [len(part.tasks) for part in parts] == [100]
    rooms = [Room.of([offer(n, f"a{n}")]) for n in range(1000)]
    found = arrange(parts, rooms, {}, {})
    assert len(found.places) == 100
    assert found.looks <= 1000 + 2 * 100
    assert max(Counter(place.agent_id for place in found.places).values()) == 1
