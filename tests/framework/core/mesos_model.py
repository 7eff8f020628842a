"""A small Mesos for the property tests: a master, agents and executors, in virtual time.

Messages lie on two wires until the test delivers, drops, repeats or swaps them. What the recordings
of a real Mesos show is kept: updates of the master have no uuid; an agent repeats an unacknowledged
update and holds later ones of the task back; a master without its registry does not know its tasks
until the agents are back; calls on an old stream are refused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import msgspec

from framework.core import messages as m
from framework.model.cluster import Offer, PortRange, StatusUpdate
from framework.model.tasks import Task

EXECUTOR_CPUS = 0.1
EXECUTOR_MEM = 32.0
RESEND_SECS = 10.0
OFFER_TIMEOUT_SECS = 60.0
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass
class AgentTask:
    task: Task
    state: str = "STAGING"
    since: float = 0.0
    killed: bool = False
    updates: list[StatusUpdate] = field(default_factory=list)
    sent_at: float = -1e9

    @property
    def is_live(self) -> bool:
        return self.state not in ENDED


@dataclass
class Agent:
    agent_id: str
    hostname: str
    connected: bool = True
    executor: bool = False
    tasks: dict[str, AgentTask] = field(default_factory=dict)
    cpus: float = 8.0
    mem: float = 4096.0
    ports: tuple[int, int] = (31000, 31019)
    disks: tuple[str, ...] = ()

    def live(self) -> list[AgentTask]:
        return [t for t in self.tasks.values() if t.is_live]


class Mesos:
    """``up`` carries calls to the master, ``down`` events to the scheduler, each with its stream."""

    def __init__(self, *, partition_aware: bool, agents: int = 3) -> None:
        self.now = 0.0
        self.partition_aware = partition_aware
        self.agents = {f"S{i}": Agent(f"S{i}", f"h{i}.example") for i in range(agents)}
        # Three tasks of a cpu fit here, if the executor is forgotten.
        self.agents["S0"].cpus = 3.05
        # What the master knows: which tasks are where, and which agents are there.
        self.known: dict[str, str] = {}
        self.there: set[str] = set(self.agents)
        self.unreachable: set[str] = set()
        self.outstanding: dict[str, tuple[Offer, float]] = {}
        self.filters: dict[str, float] = {}
        self.suppressed = False
        self.stream: int | None = None
        self.up: list[tuple[int, m.Action]] = []
        self.down: list[tuple[int, m.Event]] = []
        self.launched: set[str] = set()
        self._numbers = itertools.count(1)

    # -- the scheduler's connection --

    def subscribe(self) -> None:
        self.stream = next(self._numbers)
        self.outstanding.clear()
        self.suppressed = False
        self._tell(m.Registered(at=self.now, framework_id="f1"))

    def drop_connection(self) -> None:
        self.stream = None
        self.outstanding.clear()
        self.down.clear()

    def _tell(self, event: m.Event) -> None:
        if self.stream is not None:
            self.down.append((self.stream, event))

    def _status(
        self, task_id: str, state: str, agent_id: str | None, reason: str, message: str = ""
    ) -> None:
        """An update that the master makes itself."""
        if not self.partition_aware and state in ("UNKNOWN", "GONE", "UNREACHABLE"):
            state = "LOST"
        update = StatusUpdate(
            task_id=task_id,
            state=f"TASK_{state}",
            agent_id=agent_id,
            source="SOURCE_MASTER",
            reason=reason,
            message=message,
        )
        self._tell(m.StatusReceived(at=self.now, update=update))

    # -- calls --

    def call(self, stream: int, action: m.Action) -> None:
        if stream != self.stream:
            return
        match action:
            case m.Launch():
                self._accept(action)
            case m.Decline():
                for offer_id in action.offer_ids:
                    if (held := self.outstanding.pop(offer_id, None)) is not None:
                        self.filters[held[0].agent_id] = self.now + action.refuse_seconds
            case m.Kill():
                self._kill(action)
            case m.Suppress():
                self.suppressed = True
            case m.Revive():
                self.suppressed = False
                self.filters.clear()
            case m.Acknowledge():
                self._acknowledge(action.update)
            case m.Reconcile():
                self._reconcile(action)
            case _:
                raise AssertionError(f"unknown action {action!r}")

    def _accept(self, launch: m.Launch) -> None:
        held = [self.outstanding.pop(offer_id, None) for offer_id in launch.offer_ids]
        if None in held or any(h[0].agent_id != launch.agent_id for h in held if h):
            for task in launch.tasks:
                self._status(task.task_id, "LOST", launch.agent_id, "REASON_INVALID_OFFERS")
            return
        offers = [h[0] for h in held if h]
        agent = self.agents[launch.agent_id]
        self._check_fits(agent, offers, launch.tasks)
        agent.executor = True
        for task in launch.tasks:
            assert task.task_id not in self.launched, f"{task.task_id} is launched twice"
            self.launched.add(task.task_id)
            agent.tasks[task.task_id] = AgentTask(task, since=self.now)
            self.known[task.task_id] = agent.agent_id

    def _check_fits(self, agent: Agent, offers: list[Offer], tasks: tuple[Task, ...]) -> None:
        overhead = 0.0 if agent.executor else 1.0
        cpus = sum(t.config.resources.cpus for t in tasks) + overhead * EXECUTOR_CPUS
        mem = sum(t.config.resources.mem_mb for t in tasks) + overhead * EXECUTOR_MEM
        assert cpus <= sum(o.cpus for o in offers) + 1e-6, "cpus are oversubscribed"
        assert mem <= sum(o.mem_mb for o in offers) + 1e-6, "memory is oversubscribed"
        ports = [p for t in tasks for p in t.ports.values()]
        free = {p for o in offers for r in o.ports for p in range(r.begin, r.end + 1)}
        assert len(ports) == len(set(ports)), "ports are oversubscribed"
        assert set(ports) <= free, "ports are oversubscribed"
        disks = [name for t in tasks for name in t.disks]
        assert len(disks) == len(set(disks)), "disks are oversubscribed"
        assert set(disks) <= {name for o in offers for name in o.disks}, "disks are oversubscribed"

    def _kill(self, kill: m.Kill) -> None:
        agent_id = self.known.get(kill.task_id)
        if agent_id is None or agent_id not in self.there:
            self._answer(kill.task_id, kill.agent_id)
            return
        self.agents[agent_id].tasks[kill.task_id].killed = True

    def _acknowledge(self, update: StatusUpdate) -> None:
        assert update.uuid, "an update of the master was acknowledged"
        assert update.agent_id is not None
        agent = self.agents.get(update.agent_id)
        entry = agent.tasks.get(update.task_id) if agent else None
        if agent is None or entry is None or not agent.connected:
            return
        if entry.updates and entry.updates[0].uuid == update.uuid:
            entry.updates.pop(0)
            entry.sent_at = -1e9
        if not entry.is_live and not entry.updates:
            del agent.tasks[update.task_id]
            self.known.pop(update.task_id, None)

    def _reconcile(self, call: m.Reconcile) -> None:
        if call.tasks:
            for task_id, agent_id in call.tasks:
                self._answer(task_id, agent_id)
            return
        for task_id in list(self.known):
            self._answer(task_id, self.known[task_id])

    def _answer(self, task_id: str, agent_id: str | None) -> None:
        reason = "REASON_RECONCILIATION"
        if task_id in self.known:
            agent = self.agents[self.known[task_id]]
            state = agent.tasks[task_id].state
            agent_id, message = agent.agent_id, "Latest task state"
        elif agent_id in self.there:
            state, message = "GONE", "Task is unknown to the agent"
        elif agent_id in self.unreachable:
            state, message = "UNREACHABLE", "Task is unreachable"
        else:
            state, message = "UNKNOWN", "Task is unknown"
        self._status(task_id, state, agent_id, reason, f"Reconciliation: {message}")

    # -- agents and executors --

    def allocate(self, split: bool = False) -> None:
        if self.stream is None or self.suppressed:
            return
        taken = {offer.agent_id for offer, _ in self.outstanding.values()}
        offers: list[Offer] = []
        for agent in self.agents.values():
            filtered = self.filters.get(agent.agent_id, 0.0) > self.now
            if agent.agent_id in self.there and agent.agent_id not in taken and not filtered:
                offers += self._offers_of(agent, split)
        for offer in offers:
            self.outstanding[offer.offer_id] = (offer, self.now)
        if offers:
            self._tell(m.OffersReceived(at=self.now, offers=tuple(offers)))

    def _offers_of(self, agent: Agent, split: bool) -> list[Offer]:
        cpus = agent.cpus - sum(t.task.config.resources.cpus for t in agent.live())
        mem = agent.mem - sum(t.task.config.resources.mem_mb for t in agent.live())
        if agent.executor:
            cpus, mem = cpus - EXECUTOR_CPUS, mem - EXECUTOR_MEM
        used = {p for t in agent.live() for p in t.task.ports.values()}
        free = [p for p in range(agent.ports[0], agent.ports[1] + 1) if p not in used]
        in_use = {name for t in agent.live() for name in t.task.disks}
        if cpus < 0.01 or mem < 32:
            return []
        whole = Offer(
            offer_id=f"O{next(self._numbers)}",
            agent_id=agent.agent_id,
            hostname=agent.hostname,
            agent_address=f"{agent.hostname}:5051",
            cpus=cpus,
            mem_mb=mem,
            disk_mb=10_000.0,
            ports=tuple(PortRange(p, p) for p in free),
            attributes={"rack": (f"r{agent.hostname[1]}",)},
            has_executor=agent.executor,
            disks=tuple(name for name in agent.disks if name not in in_use),
        )
        if not split or len(free) < 2:
            return [whole]
        half = {"cpus": cpus / 2, "mem_mb": mem / 2, "disk_mb": 5000.0}
        middle = len(whole.ports) // 2
        change = msgspec.structs.replace
        return [
            change(whole, **half, ports=whole.ports[:middle], disks=whole.disks[:1]),
            change(
                whole,
                **half,
                ports=whole.ports[middle:],
                disks=whole.disks[1:],
                offer_id=f"O{next(self._numbers)}",
            ),
        ]

    def report(self, agent: Agent, entry: AgentTask, state: str) -> None:
        """The executor reports a new state."""
        entry.state, entry.since = state, self.now
        entry.updates.append(
            StatusUpdate(
                task_id=entry.task.task_id,
                state=f"TASK_{state}",
                agent_id=agent.agent_id,
                uuid=f"uuid{next(self._numbers)}",
                source="SOURCE_EXECUTOR",
                data=b'{"sandbox": "/s", "container_id": "c"}',
            )
        )

    def work(self, *, batch_secs: float = 20.0) -> None:
        """Executors go one step on; agents send what is due; old offers are taken back."""
        for agent in self.agents.values():
            for entry in agent.live():
                if entry.killed:
                    self.report(agent, entry, "KILLED")
                elif entry.state == "STAGING":
                    self.report(agent, entry, "STARTING")
                elif entry.state == "STARTING":
                    self.report(agent, entry, "RUNNING")
                elif not entry.task.config.service and self.now - entry.since >= batch_secs:
                    self.report(agent, entry, "FINISHED")
            if agent.agent_id in self.there and self.stream is not None:
                self._send_updates(agent)
        for offer_id, (_, since) in list(self.outstanding.items()):
            if self.now - since >= OFFER_TIMEOUT_SECS:
                del self.outstanding[offer_id]
                self._tell(m.OfferRescinded(at=self.now, offer_id=offer_id))

    def _send_updates(self, agent: Agent) -> None:
        for entry in agent.tasks.values():
            if entry.updates and self.now - entry.sent_at >= RESEND_SECS:
                entry.sent_at = self.now
                self._tell(m.StatusReceived(at=self.now, update=entry.updates[0]))

    # -- faults --

    def rescind(self, number: int) -> None:
        """The master takes one of the offers back."""
        if self.outstanding:
            offer_id = list(self.outstanding)[number % len(self.outstanding)]
            del self.outstanding[offer_id]
            self._tell(m.OfferRescinded(at=self.now, offer_id=offer_id))

    def fail_task(self, number: int, only_batch: bool = False) -> None:
        running = [(a, t) for a in self.agents.values() for t in a.live() if t.state == "RUNNING"]
        if only_batch:
            running = [(a, t) for a, t in running if not t.task.config.service]
        if running:
            agent, entry = running[number % len(running)]
            self.report(agent, entry, "FAILED")

    def restart_master(self) -> None:
        """The master forgets everything; its agents come back one by one."""
        self.drop_connection()
        self.known.clear()
        self.there.clear()
        self.unreachable.clear()
        self.filters.clear()
        self.suppressed = False

    def part(self, agent: Agent) -> None:
        """The agent cannot be reached; its tasks live on."""
        agent.connected = False
        if agent.agent_id in self.there:
            self.there.discard(agent.agent_id)
            self.unreachable.add(agent.agent_id)
            self._without(agent, "UNREACHABLE", "REASON_AGENT_REMOVED")

    def _without(self, agent: Agent, state: str, reason: str) -> None:
        for offer_id, (offer, _) in list(self.outstanding.items()):
            if offer.agent_id == agent.agent_id:
                del self.outstanding[offer_id]
                self._tell(m.OfferRescinded(at=self.now, offer_id=offer_id))
        for task_id, where in list(self.known.items()):
            if where == agent.agent_id:
                del self.known[task_id]
                self._status(task_id, state, agent.agent_id, reason, "health check timed out")
        self._tell(m.AgentLost(at=self.now, agent_id=agent.agent_id))

    def rejoin(self, agent: Agent) -> None:
        """The agent is back, with its tasks."""
        agent.connected = True
        self.unreachable.discard(agent.agent_id)
        if agent.agent_id in self.there:
            return
        self.there.add(agent.agent_id)
        for task_id, entry in agent.tasks.items():
            self.known[task_id] = agent.agent_id
            self._status(task_id, entry.state, agent.agent_id, "REASON_AGENT_REREGISTERED")

    def reboot(self, agent: Agent) -> None:
        """The machine restarts: its tasks are gone, and it comes back as another agent."""
        if agent.agent_id in self.there:
            self.there.discard(agent.agent_id)
            self._without(agent, "LOST", "REASON_AGENT_REMOVED")
        self.unreachable.discard(agent.agent_id)
        del self.agents[agent.agent_id]
        new = Agent(f"S{next(self._numbers)}", agent.hostname, disks=agent.disks)
        self.agents[new.agent_id] = new
        self.there.add(new.agent_id)

    def live_tasks(self) -> list[Task]:
        return [entry.task for agent in self.agents.values() for entry in agent.live()]
