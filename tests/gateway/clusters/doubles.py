"""A scheduler for the engine's own logic, and a provider that does as it is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from executor.task import NodeFile
from framework.core.messages import InstanceState, Job, JobView, PendingReason
from framework.model.errors import Conflict, NotFound
from framework.model.jobs import JobKey, JobSpec, TaskConfig
from framework.model.tasks import Task, TaskEvent, TaskState
from gateway.clusters.engine import Engine
from gateway.clusters.model import (
    Cluster,
    LaunchRequest,
    NetworkAsk,
    NodeAsk,
    NodeRecord,
    NodeSpec,
    Phase,
)
from gateway.clusters.model import Group as NodeGroup
from gateway.clusters.networks import Network, expand
from gateway.clusters.planning import Rules
from gateway.clusters.provider import Moment, Step, StepContext, StepFailed
from gateway.clusters.service import Clusters
from gateway.store import Store

S = TaskState
MOMENTS: tuple[Moment, ...] = ("planned", "placed", "resized", "shrinking", "deleting", "run")


class MemoryFleet:
    """Jobs whose tasks move on when :meth:`settle` is called. ``full``: nothing more can be placed;
    ``stuck``: what is killed does not die; ``failing``: nodes whose tasks fail when they start;
    ``held``: nodes that are not placed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self.jobs: dict[JobKey, Job] = {}
        self.tasks: dict[JobKey, dict[int, Task]] = {}
        self.ended: dict[JobKey, list[Task]] = {}
        self.calls: Counter[str] = Counter()
        self.full = False
        self.stuck = False
        self.failing: set[str] = set()
        self.held: set[str] = set()
        self._listeners: list[Callable[[JobKey], None]] = []
        self._number = 0

    # -- the fleet ------------------------------------------------------------------------------------

    def create(self, spec: JobSpec, configs: Mapping[int, TaskConfig], user: str) -> None:
        with self._lock:
            self.calls["create"] += 1
            if self._is_live(spec.key):
                raise Conflict(f"job {spec.key} already exists")
            self.jobs[spec.key] = Job(spec, self._clock(), user, dict(configs))
            for instance, config in configs.items():
                self._new(spec.key, instance, config)
        self._tell(spec.key)

    def resize(
        self, key: JobKey, add: Mapping[int, TaskConfig], remove: Sequence[int], user: str
    ) -> None:
        with self._lock:
            self.calls["resize"] += 1
            if not self._is_live(key):
                raise NotFound(f"there is no active job {key}")
            wanted = {i: c for i, c in self.jobs[key].wanted.items() if i not in remove}
            self.jobs[key] = msgspec.structs.replace(self.jobs[key], wanted={**wanted, **add})
            for instance, config in add.items():
                self._new(key, instance, config)
            for instance in remove:
                self._kill(key, instance)
        self._tell(key)

    def kill(self, key: JobKey, user: str) -> None:
        with self._lock:
            self.calls["kill"] += 1
            if key not in self.jobs:
                return
            self.jobs[key] = msgspec.structs.replace(self.jobs[key], wanted={})
            for instance in list(self.tasks[key]):
                self._kill(key, instance)
        self._tell(key)

    def restart(self, key: JobKey, instance: int, user: str) -> None:
        self.lose(key, instance)

    def look(self, key: JobKey) -> JobView | None:
        with self._lock:
            if key not in self.jobs:
                return None
            pending = (PendingReason("cpus: needs 5, largest of 3 offers has 4", 3),)
            states = [
                InstanceState(task, pending if task.state is S.PENDING else ())
                for _, task in sorted(self.tasks[key].items())
            ]
            return JobView(self.jobs[key], tuple(states), tuple(self.ended[key][::-1]))

    def live(self, cluster: str, environment: str) -> list[JobKey]:
        with self._lock:
            return [k for k in self.jobs if k.environment == environment and self._is_live(k)]

    def subscribe(self, listener: Callable[[JobKey], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- the tests' -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything moves on: tasks are placed, run, fail, die."""
        with self._lock:
            for key, tasks in self.tasks.items():
                for instance, task in list(tasks.items()):
                    self._move(key, instance, task)
                self._tell(key)

    def lose(self, key: JobKey, instance: int) -> None:
        """The task's agent is lost; the core replaces it."""
        with self._lock:
            task = self._put(key, self.tasks[key][instance], S.LOST, "the agent is gone")
            self.ended[key].append(task)
            self._new(key, instance, self.jobs[key].wanted[instance])
        self._tell(key)

    def active(self) -> int:
        with self._lock:
            return sum(t.is_active for tasks in self.tasks.values() for t in tasks.values())

    def names(self, key: JobKey) -> list[str]:
        """The active nodes of a job."""
        with self._lock:
            tasks = self.tasks.get(key, {}).values()
            return [t.config.node.hostname for t in tasks if t.is_active and t.config.node]

    # -- within ---------------------------------------------------------------------------------------

    def _move(self, key: JobKey, instance: int, task: Task) -> None:
        name = task.config.node.hostname if task.config.node is not None else ""
        if task.state is S.PENDING and not self.full and name not in self.held:
            if name in self.failing:
                failed = self._put(key, task, S.FAILED, "exit status 3")
                self.ended[key].append(failed)
                self._new(key, instance, task.config, task.failures + 1)
                return
            placed = msgspec.structs.replace(
                task, hostname=f"agent{instance % 3}", container_id=f"c-{task.task_id}"
            )
            self._put(key, placed, S.RUNNING)
        elif task.state is S.KILLING and not self.stuck:
            self.ended[key].append(self._put(key, task, S.KILLED))

    def _new(self, key: JobKey, instance: int, config: TaskConfig, failures: int = 0) -> None:
        self._number += 1
        task = Task(f"t{self._number}", key, instance, config, S.PENDING, (), failures=failures)
        self.tasks.setdefault(key, {})
        self.ended.setdefault(key, [])
        self._put(key, task, S.PENDING)

    def _put(self, key: JobKey, task: Task, state: TaskState, message: str = "") -> Task:
        event = TaskEvent(self._clock(), state, message)
        moved = msgspec.structs.replace(task, state=state, events=(*task.events, event))
        self.tasks[key][task.instance] = moved
        return moved

    def _kill(self, key: JobKey, instance: int) -> None:
        task = self.tasks[key].get(instance)
        if task is not None and task.is_active:
            self._put(key, task, S.KILLED if task.state is S.PENDING else S.KILLING)

    def _is_live(self, key: JobKey) -> bool:
        tasks = self.tasks.get(key, {}).values()
        return key in self.jobs and bool(self.jobs[key].wanted or any(t.is_active for t in tasks))

    def _tell(self, key: JobKey) -> None:
        for listener in list(self._listeners):
            listener(key)


class ScriptedProvider:
    """Two steps for each moment. ``acts`` by "moment/step" are what a step does besides being noted,
    ``timeouts`` what it has for that."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.acts: dict[str, Callable[[Cluster, StepContext], None]] = {}
        self.timeouts: dict[str, float] = {}

    def steps(self, cluster: Cluster, moment: Moment) -> Sequence[Step]:
        return [self._step(moment, name) for name in ("first", "second")]

    def files(self, cluster: Cluster, node: NodeRecord) -> Sequence[NodeFile]:
        return [NodeFile("/root/name", node.name)]

    def _step(self, moment: Moment, name: str) -> Step:
        def run(cluster: Cluster, context: StepContext) -> None:
            self.done.append(f"{moment}/{name}")
            context.tell(f"{moment} {name}", stream="stdout")
            act = self.acts.get(f"{moment}/{name}")
            if act is not None:
                act(cluster, context)

        return Step(f"{moment} {name}", run, self.timeouts.get(f"{moment}/{name}", 60.0))


class Bench:
    """An engine over a store, driven by the test itself: no thread but those of steps."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.now = 1_000_000.0
        self.store = store
        self.fleet = MemoryFleet(self.clock)
        self.provider = ScriptedProvider()
        self.options = options
        self.engine = self.new_engine()
        self.written: list[tuple[str, str]] = []
        self.clusters = Clusters(store, self, self.fleet, Rules(), "devcluster", self.clock)
        store.networks.define(Network("n", "10.0.0.0/24", expand(["10.0.0.10-10.0.0.29"])))

    def clock(self) -> float:
        return self.now

    def wake(self, cluster_id: str) -> None:
        self.engine.wake(cluster_id)

    def new_engine(self) -> Engine:
        """A fresh one on the same store, as after a restart."""
        options = {"tick_secs": 0.05, "cancel_secs": 1.0, "write_hosts": self._write, **self.options}
        self.engine = Engine(
            self.store,
            self.fleet,
            {"product": self.provider, "plugin": self.provider},
            Rules(),
            self.clock,
            cluster_name="devcluster",
            **options,
        )
        self.fleet._listeners = [self.engine._heard]
        return self.engine

    def _write(self, node: NodeRecord, text: str) -> None:
        self.written.append((node.name, text))

    def launch(self, count: int = 3, number: int = 1, **fields: Any) -> Cluster:
        return self.clusters.launch(a_request(count, number, **fields))

    def drive(
        self, cluster: Cluster, until: Callable[[Cluster], bool], timeout: float = 60.0
    ) -> Cluster:
        """Turns the engine until the cluster is as wanted; the clock advances meanwhile."""
        deadline = time.monotonic() + timeout
        while not until(now := self.store.clusters.get(cluster.cluster_id)):
            assert time.monotonic() < deadline, (now, self.story(cluster))
            self.engine.turn()
            self.fleet.settle()
            self.now += 0.1
            time.sleep(0.001)
        return now

    def story(self, cluster: Cluster) -> list[str]:
        events = self.store.events.read(cluster.cluster_id)
        return [f"{e.step or e.node}: {e.text}" for e in events]

    def nothing_left(self, cluster: Cluster) -> bool:
        return (
            self.fleet.names(cluster.job) == []
            and self.store.networks.of(cluster.cluster_id) == []
            and self.store.secrets.names(cluster.cluster_id) == []
        )


def a_request(count: int = 3, number: int = 1, **fields: Any) -> LaunchRequest:
    spec = NodeSpec(cpus=0.1, mem_mb=32, command="sleep 1000", networks=(NetworkAsk("n"),))
    values: dict[str, Any] = {
        "key": f"clusters/ann/hello/1.0/{number}",
        "owner": "ann",
        "provider": "product",
        "product": ("hello", "1.0"),
        "job_name": f"hello-1.0-{number}",
        "groups": (NodeGroup("slave", spec),),
        "nodes": tuple(NodeAsk(f"slave{n}", "slave", spec) for n in range(count)),
        **fields,
    }
    return LaunchRequest(**values)


# -- what tests wait for, and what steps do --------------------------------------------------------


def is_ready(cluster: Cluster) -> bool:
    return cluster.phase is Phase.READY and cluster.operation is None


def is_failed(cluster: Cluster) -> bool:
    return cluster.phase is Phase.FAILED


def is_gone(cluster: Cluster) -> bool:
    return cluster.is_gone


def fail(cluster: Cluster, context: StepContext) -> None:
    raise StepFailed("the script has ended with 3")


def waiting_for(event: threading.Event) -> Callable[[Cluster, StepContext], None]:
    def wait(cluster: Cluster, context: StepContext) -> None:
        event.wait(120)

    return wait
