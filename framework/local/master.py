"""The master: who is subscribed, what is offered to whom, and what becomes of it.

All of it runs on one event loop. Scheduler calls are in ``calls.py``, agents in ``agents.py``;
this is what both need. Facts about order and texts come from the recordings that are named.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from framework.local import allocator, offering, operator_events, validation
from framework.local import resources as res
from framework.local.cluster import (
    MAX_COMPLETED_FRAMEWORKS,
    Agent,
    Cancellable,
    Executor,
    Framework,
    InverseOffer,
    Offer,
    Session,
)
from framework.local.maintenance import Maintenance
from framework.local.registry import Registry
from framework.local.settings import VERSION, MasterConfig

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Timers(Protocol):
    """What the master needs of an event loop."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Cancellable: ...

    def time(self) -> float: ...


class Master:
    """The state of the cluster and its rules."""

    def __init__(self, config: MasterConfig, registry: Registry, timers: Timers) -> None:
        self.config = config
        self.registry = registry
        self.timers = timers
        self.id = str(uuid.uuid4())
        self.port = config.port
        self.start_time = time.time()
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.agents: dict[str, Agent] = {}
        self.recovered_agents: dict[str, Cancellable] = {}
        self.unreachable: dict[str, Json] = {}
        self.filters = allocator.Filters()
        self.watchers = operator_events.Watchers()
        self.maintenance = Maintenance(lambda: self.next_id("offer", "O{}"), timers.call_later)
        self.counters: dict[str, int] = {}
        self._numbers = {"framework": 0, "offer": 0, "agent": 0}
        self._allocation: Cancellable | None = None
        self._filter_timer: Cancellable | None = None
        self._recover()

    def count(self, what: str, by: int = 1) -> None:
        self.counters[what] = self.counters.get(what, 0) + by

    def next_id(self, kind: str, form: str) -> str:
        """Returns this master's next id of a kind: ``<master>-0000``, ``<master>-O0`` …"""
        number = self._numbers[kind]
        self._numbers[kind] += 1
        return f"{self.id}-{form.format(number)}"

    @property
    def info(self) -> Json:
        """Mesos's ``MasterInfo``; the third capability, QUOTA_V2, is not known to the v1 API (01)."""
        address = self.config.address
        # In the byte order of the network, read as a number of this machine: 127.0.0.1 is 16777343.
        ip = struct.unpack("<I", socket.inet_aton(address))[0]
        return {
            "id": self.id,
            "ip": ip,
            "port": self.port,
            "pid": f"master@{address}:{self.port}",
            "hostname": address,
            "version": VERSION,
            "address": {"hostname": address, "ip": address, "port": self.port},
            "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}, {}],
        }

    def _recover(self) -> None:
        for framework_id, known in self.registry.contents.frameworks.items():
            framework = Framework(framework_id, known.info, registered_time=known.registered_time)
            framework.recovered = True
            self.frameworks[framework_id] = framework
            self.await_failover(framework)
        for agent_id in self.registry.contents.agents:
            self.recovered_agents[agent_id] = self.timers.call_later(
                self.config.times.agent_reregister_timeout, self._give_up, agent_id
            )

    def _give_up(self, agent_id: str) -> None:
        """An agent from before the restart has not come back."""
        if self.recovered_agents.pop(agent_id, None) is not None:
            self.unreachable[agent_id] = {"nanoseconds": time.time_ns()}

    # -- frameworks --

    def subscribe(self, info: Json, suppressed: list[str], session: Session) -> Framework | None:
        """Subscribes a framework; on refusal sends an ERROR, ends the session and returns None."""
        problem = validation.framework_info(info)
        framework_id = info["id"]["value"] if "id" in info else ""
        if problem is None and self.registry.is_removed(framework_id):
            problem = "Framework has been removed"
        if problem is not None:
            session.send({"type": "ERROR", "error": {"message": problem}})
            session.end()
            return None
        framework = self.frameworks.get(framework_id)
        added = framework is None
        if framework is None:
            framework_id = framework_id or self.next_id("framework", "{:04d}")
            framework = Framework(framework_id, {**info, "id": {"value": framework_id}})
            self.frameworks[framework_id] = framework
        self._start_session(framework, info, suppressed, session, added=added)
        return framework

    def _start_session(
        self, framework: Framework, info: Json, suppressed: list[str], session: Session, *, added: bool
    ) -> None:
        old = framework.session
        self._cancel_removal(framework)
        if old is not None:
            old.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
            old.end()
        for offer in list(framework.offers.values()):
            self.take_back(offer)
        if not added:
            self.change_info(framework, info)
            framework.reregistered_time = time.time()
        framework.recovered = False
        framework.session, framework.active = session, True
        framework.suppressed = set(suppressed)
        self.filters.clear(framework.id)
        self.registry.keep_framework(framework.id, framework.info, framework.registered_time)
        session.send(
            {
                "type": "SUBSCRIBED",
                "subscribed": {
                    "framework_id": {"value": framework.id},
                    "heartbeat_interval_seconds": float(self.config.times.heartbeat),
                    "master_info": self.info,
                },
            }
        )
        framework.count("calls/subscribe")
        self.watchers.framework(framework, added=added)
        self.tell_agents(
            {
                "type": "framework_updated",
                "framework": operator_events.shown_info(framework),
                "flush": True,
            }
        )

    def change_info(self, framework: Framework, info: Json) -> None:
        """Takes the changeable part of a FrameworkInfo over; user, principal, checkpoint stay."""
        fixed = ("id", "user", "principal", "checkpoint")
        kept: Json = {k: framework.info[k] for k in fixed if k in framework.info}
        framework.info = {**{k: v for k, v in info.items() if k != "checkpoint"}, **kept}

    def session_closed(self, framework: Framework, session: Session) -> None:
        """The framework's connection is gone: it is inactive until it comes back, or removed."""
        if framework.session is not session:
            return
        framework.session, framework.active = None, False
        framework.unregistered_time = time.time()
        for offer in list(framework.offers.values()):
            self.take_back(offer)
        self.drop_inverse_offers(framework.id)
        self.await_failover(framework)
        self.allocate_soon()

    def await_failover(self, framework: Framework) -> None:
        """Gives a disconnected framework its failover timeout to come back."""
        delay = framework.info.get("failover_timeout", 0.0)
        if delay <= 0 and not framework.recovered:
            self.remove_framework(framework)
            return
        # A recovered framework gets some time even without a timeout, for want of a connection to lose.
        delay = max(delay, self.config.times.agent_reregister_timeout if framework.recovered else 0.0)
        framework.removal = self.timers.call_later(delay, self.remove_framework, framework)

    def _cancel_removal(self, framework: Framework) -> None:
        if framework.removal is not None:
            framework.removal.cancel()
            framework.removal = None

    def remove_framework(self, framework: Framework) -> None:
        """Ends a framework for good: its tasks are killed, its stream ends without an ERROR."""
        if framework.id not in self.frameworks:
            return
        self._cancel_removal(framework)
        self.registry.remove_framework(framework.id)
        for offer in list(framework.offers.values()):
            self.take_back(offer)
        self.drop_inverse_offers(framework.id)
        del self.frameworks[framework.id]
        for agent in self.agents.values():
            self._hold_until_gone(framework, agent)
        for task in list(framework.tasks.values()):
            if not task.terminal:
                task.record(
                    {"task_id": {"value": task.id}, "state": "TASK_KILLED", "timestamp": time.time()}
                )
            framework.completed.append(task)
        framework.tasks.clear()
        self.filters.clear(framework.id)
        self.tell_agents({"type": "shutdown_framework", "framework_id": framework.id})
        session, framework.session, framework.active = framework.session, None, False
        framework.unregistered_time = time.time()
        self.completed.append(framework)
        self.watchers.framework_removed(framework)
        if session is not None:
            session.end()
        self.allocate_soon()

    def _hold_until_gone(self, framework: Framework, agent: Agent) -> None:
        """Moves the resources of a removed framework's tasks to its executors.

        They are free again when the agent reports the end of the executor, not before: otherwise a
        new task could meet the ports and the memory of one that is still ending.
        """
        for key in [k for k in agent.tasks if k[0] == framework.id]:
            task = agent.tasks.pop(key)
            if task.terminal:
                continue
            holder = (framework.id, task.executor_id or task.id)
            executor = agent.executors.get(holder)
            if executor is None:
                info = {"executor_id": {"value": holder[1]}, "framework_id": {"value": framework.id}}
                executor = Executor(info, framework.id, agent.id, task.role, res.NOTHING)
                agent.executors[holder] = executor
            executor.resources = executor.resources + task.resources

    # -- offers --

    def take_back(self, offer: Offer, *, rescind: bool = False) -> None:
        """Ends an offer; ``rescind`` tells the framework."""
        framework = self.frameworks.get(offer.framework_id)
        agent = self.agents.get(offer.agent_id)
        if framework is not None:
            framework.offers.pop(offer.id, None)
            if rescind:
                framework.send({"type": "RESCIND", "rescind": {"offer_id": {"value": offer.id}}})
                framework.count("offers/rescinded")
        if agent is not None:
            agent.offers.pop(offer.id, None)

    def drop_inverse_offers(self, framework_id: str) -> None:
        for agent in self.agents.values():
            for inverse in [i for i in agent.inverse_offers.values() if i.framework_id == framework_id]:
                del agent.inverse_offers[inverse.id]

    def refuse(
        self, framework: Framework, role: str, agent_id: str, bag: res.Resources, secs: float
    ) -> None:
        """Keeps ``bag`` from the framework's role for ``secs``; nothing is kept for 0."""
        if secs > 0:
            until = self.timers.time() + min(secs, 31536000.0)
            self.filters.add(framework.id, role, agent_id, bag, until)

    def allocate_soon(self) -> None:
        """Allocates within the allocation interval, however many times this is called."""
        if self._allocation is None:
            self._allocation = self.timers.call_later(
                self.config.times.allocation_interval, self.allocate
            )

    def allocate(self) -> None:
        """Offers what is free to those who want it."""
        if self._allocation is not None:
            self._allocation.cancel()
            self._allocation = None
        self.count("allocation_runs")
        self.filters.expire(self.timers.time())
        agents = self.agents.values()
        grants = allocator.allocate(
            offering.supplies(agents),
            offering.clients(self.frameworks.values(), agents),
            res.total(agent.total for agent in agents),
            self.filters.refuses,
        )
        events: dict[str, list[Offer]] = {}
        for grant in grants:
            events.setdefault(grant.framework_id, []).append(self._offer(grant))
        for framework_id, offers in events.items():
            framework = self.frameworks[framework_id]
            framework.count("offers/sent", len(offers))
            framework.send({"type": "OFFERS", "offers": {"offers": [o.json for o in offers]}})
        for agent in self.agents.values():
            self.maintenance.ask(agent, self.frameworks.values())
        self._wake_for_filters()

    def _wake_for_filters(self) -> None:
        if self._filter_timer is not None:
            self._filter_timer.cancel()
            self._filter_timer = None
        expiry = self.filters.next_expiry()
        if expiry is not None:
            delay = max(0.0, expiry - self.timers.time())
            self._filter_timer = self.timers.call_later(delay, self.allocate)

    def _offer(self, grant: allocator.Grant) -> Offer:
        framework, agent = self.frameworks[grant.framework_id], self.agents[grant.agent_id]
        offer = Offer(
            self.next_id("offer", "O{}"), framework.id, agent.id, grant.role, grant.resources, {}
        )
        offer.json = offering.offer_json(offer, framework, agent)
        framework.offers[offer.id] = offer
        agent.offers[offer.id] = offer
        return offer

    # -- maintenance --

    def set_schedule(self, schedule: Json) -> None:
        """Takes a maintenance schedule; offers on agents that it concerns are made anew (33)."""
        self.maintenance.schedule = schedule
        for agent in self.agents.values():
            if not self.maintenance.apply(agent):
                continue
            for offer in list(agent.offers.values()):
                self.take_back(offer, rescind=True)
            for inverse in list(agent.inverse_offers.values()):
                self.rescind_inverse(inverse)
        self.allocate()

    def rescind_inverse(self, inverse: InverseOffer) -> None:
        agent = self.agents.get(inverse.agent_id)
        if agent is not None:
            agent.inverse_offers.pop(inverse.id, None)
        framework = self.frameworks.get(inverse.framework_id)
        if framework is not None:
            body = {"inverse_offer_id": {"value": inverse.id}}
            framework.send({"type": "RESCIND_INVERSE_OFFER", "rescind_inverse_offer": body})

    def answer_inverse_offers(self, framework: Framework, ids: list[str], refuse_secs: float) -> None:
        for agent in self.agents.values():
            for offer_id in ids:
                if offer_id in agent.inverse_offers:
                    self.maintenance.answered(agent, framework, offer_id, refuse_secs)

    def tell_agents(self, message: Json) -> None:
        for agent in self.agents.values():
            if agent.link is not None:
                agent.link.send(message)
