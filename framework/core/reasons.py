"""Why a task is pending, in sentences with figures; worked out when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from framework.core.matching import SCALARS, Ask, Crowd, Room, Veto, vetoes
from framework.core.messages import PendingReason
from framework.core.offers import Agent
from framework.model.jobs import JobKey
from framework.model.tasks import Task, TaskState

_NAMED = 5
_UNITS = {"mem": " MiB", "disk": " MiB"}


def waiting(task: Task, now: float, wanted: bool) -> tuple[PendingReason, ...] | None:
    """Returns why a task waits for time or for another task; None: it waits for an agent."""
    if task.state is TaskState.THROTTLED:
        left = max(0.0, task.throttle_until - now)
        return (
            PendingReason(
                f"throttled for {left:.0f} s more: the last run was too short",
                1,
            ),
        )
    if task.state is TaskState.KILLING and wanted:
        return (PendingReason("waiting for the task before it to end", 1),)
    return None if task.state is TaskState.PENDING else ()


def placement(
    ask: Ask, agents: Mapping[str, Agent], crowd: Crowd, registered: bool
) -> tuple[PendingReason, ...]:
    """Returns why ``ask`` fits none of ``agents`` by what they last had free; most frequent first."""
    found: list[PendingReason] = []
    if not registered:
        found.append(PendingReason("waiting for the connection to the Mesos master", 0))
    if not agents:
        return (*found, PendingReason("no offers yet", 0))
    rooms = [agent.room for agent in agents.values()]
    vetoed: dict[str, list[tuple[Room, Veto]]] = {}
    fitting: list[Room] = []
    for room in rooms:
        reasons = vetoes(ask, room, crowd)
        if not reasons:
            fitting.append(room)
        for veto in reasons:
            vetoed.setdefault(_heading(veto), []).append((room, veto))
    if fitting:
        found.append(_reason("waiting for the next offer of an agent that fits", fitting))
    if never := _beyond(ask, agents.values()):
        found.append(PendingReason(never, len(rooms), _names(rooms)))
    lines = [
        _reason(_sentence(heading, cases, len(rooms)), [room for room, _ in cases])
        for heading, cases in vetoed.items()
    ]
    return (*found, *sorted(lines, key=lambda line: -line.count))


def together(nodes: int, fitting: int) -> tuple[PendingReason, ...]:
    """Returns why a gang of so many tasks waits, of which so many fit what agents last had free."""
    if nodes == 1:
        return ()
    return (
        PendingReason(f"waits until all {nodes} nodes fit at once; now {fitting} of {nodes} fit", 0),
    )


def out_of_turn(key: JobKey, seconds: float) -> tuple[PendingReason, ...]:
    """Returns that for so long what is offered is for the gang of another job."""
    return (
        PendingReason(
            f"for {seconds:.0f} s more all offers are for the nodes of {key}, which have waited longer",
            0,
        ),
    )


def _heading(veto: Veto) -> str:
    if not veto.what:
        return veto.because
    return f"{veto.what}: {veto.because}" if veto.because else veto.what


def _sentence(heading: str, cases: list[tuple[Room, Veto]], agents: int) -> str:
    _, veto = max(cases, key=lambda case: case[1].has)
    if veto.because:
        return heading
    unit = _UNITS.get(veto.what, "")
    offers = "1 offer" if agents == 1 else f"{agents} offers"
    if len(cases) < agents:
        return (
            f"{veto.what}: needs {_number(veto.needs)}{unit}, {len(cases)} of {offers} have less "
            f"(at most {_number(veto.has)}{unit})"
        )
    return (
        f"{veto.what}: needs {_number(veto.needs)}{unit}, "
        f"largest of {offers} has {_number(veto.has)}{unit}"
    )


def _beyond(ask: Ask, agents: Iterable[Agent]) -> str:
    """Returns a sentence if no agent has ever had enough free for the task alone, else ""."""
    known = list(agents)
    peaks = [agent.peak for agent in known]
    need = ask.config.resources
    amounts = dict(zip(SCALARS, (need.cpus, need.mem_mb, need.disk_mb, need.gpus), strict=True))
    for what, amount in amounts.items():
        most = max(float(getattr(peak, what)) for peak in peaks)
        if amount > most:
            unit = _UNITS.get(what, "")
            return (
                f"no agent seen so far could ever hold it: it needs {_number(amount)}{unit} {what}, "
                f"the most that any of {len(peaks)} has offered is {_number(most)}{unit}"
            )
    disks = max(len(agent.disks) for agent in known)
    if need.data_disks > disks:
        return (
            f"no agent seen so far could ever hold it: it needs {need.data_disks} data disks, "
            f"the most that any of {len(known)} has offered is {disks}"
        )
    return ""


def _reason(text: str, rooms: list[Room]) -> PendingReason:
    return PendingReason(text, len(rooms), _names(rooms))


def _names(rooms: list[Room]) -> tuple[str, ...]:
    return tuple(sorted({room.hostname for room in rooms})[:_NAMED])


def _number(amount: float) -> str:
    return f"{amount:.3f}".rstrip("0").rstrip(".")
