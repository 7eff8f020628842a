"""What the engine does: each act persists what is to be done, does it, and persists that it is done.

The acts are for one thread. A crash between two of them is no harm: the stage is carried out again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

from framework.core.messages import JobView
from framework.model.errors import Conflict, GatewayError, Unavailable
from gateway.clusters import planning
from gateway.clusters.course import Stage, is_ours, nodes_of
from gateway.clusters.fleet import Fleet
from gateway.clusters.follow import follow
from gateway.clusters.model import (
    Cluster,
    ClusterEvent,
    Interface,
    NodeRecord,
    NodeStatus,
    Operation,
    Phase,
    storable,
)
from gateway.clusters.phases import move
from gateway.clusters.planning import Rules
from gateway.clusters.provider import Provider, Step
from gateway.clusters.requests import ended, with_delete, without_nodes
from gateway.clusters.runs import Run
from gateway.store import Store

# Writes a text over a running node's /etc/hosts; raises a GatewayError.
HostsWriter = Callable[[NodeRecord, str], None]
_WRITERS = 8


class Superseded(GatewayError):
    """Something else has been begun with the cluster meanwhile: it has to be looked at again."""

    code = "conflict"


class Acts:
    """``providers`` by the name that clusters have for theirs; ``write_hosts`` None: nobody can."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        providers: Mapping[str, Provider],
        rules: Rules,
        clock: Callable[[], float],
        write_hosts: HostsWriter | None,
    ) -> None:
        self.store = store
        self.clock = clock
        self._fleet = fleet
        self._providers = providers
        self._rules = rules
        self._write_hosts = write_hosts

    # -- looking -----------------------------------------------------------------------------------

    def look(self, cluster: Cluster) -> tuple[Cluster, JobView | None]:
        """Returns the cluster with its nodes as their tasks are, which is stored, and its job."""
        view = self._fleet.look(cluster.job)
        if view is None or not is_ours(cluster, view):
            return cluster, None
        if follow(cluster, view, self.clock())[0] == cluster:
            return cluster, view
        with self.store.transaction():
            current = self.store.clusters.get(cluster.cluster_id)
            followed, events = follow(current, view, self.clock())
            stored = self.store.clusters.change(cluster.cluster_id, lambda _: followed)
            self.store.events.append(events)
        return stored, view

    def steps(self, cluster: Cluster, stage: Stage) -> dict[str, Step]:
        """Returns what the provider does in a stage; raises what the provider raises."""
        if stage.does == "hosts":
            step = Step("hosts", self._hosts_step, timeout=600.0)
            return {step.name: step} if self.needs_hosts(cluster) else {}
        if stage.does != "provide":
            return {}
        provider = self._provider(cluster)
        return {step.name: step for step in provider.steps(cluster, stage.moment)}

    def _provider(self, cluster: Cluster) -> Provider:
        provider = self._providers.get(cluster.provider)
        if provider is None:
            raise Conflict(f"this server has no {cluster.provider} to configure clusters with")
        return provider

    # -- stages ------------------------------------------------------------------------------------

    def begin(self, cluster: Cluster, stage: Stage, step: str = "") -> Cluster:
        """Says that a stage, or a step of the provider in it, is under way."""
        name = step or stage.name
        phase = stage.phase or cluster.phase
        if cluster.step == name and cluster.phase is phase:
            return cluster
        return self._change(
            cluster,
            lambda c: msgspec.structs.replace(move(c, phase), step=name),
            [self._event(cluster, "begins", name)],
        )

    def take(self, cluster: Cluster, stage: Stage) -> None:
        """Takes the addresses of the stage's nodes, stored with them in one commit."""
        with self.store.transaction():
            nodes = [node for node in nodes_of(cluster, stage) if not node.interfaces]
            asks = planning.address_asks(nodes)
            taken = self.store.networks.take(cluster.cluster_id, asks)
            by_node: dict[str, list[Interface]] = {}
            for ask, interface in zip(asks, taken, strict=True):
                by_node.setdefault(ask.node, []).append(interface)

            def give(node: NodeRecord) -> NodeRecord:
                if node.name not in by_node:
                    return node
                return msgspec.structs.replace(node, interfaces=tuple(by_node[node.name]))

            self.done(cluster, stage, give)

    def place(self, cluster: Cluster, stage: Stage) -> None:
        """Has the scheduler place the stage's nodes: all or none."""
        nodes, provider = nodes_of(cluster, stage), self._provider(cluster)
        configs = planning.configs(
            cluster, nodes, self._rules, lambda node: provider.files(cluster, node)
        )
        user = self._user(cluster)
        if stage.whose == "all":
            self._fleet.create(planning.job_spec(cluster, configs), configs, user)
        else:
            self._fleet.resize(cluster.job, configs, (), user)
        self.placed(cluster, stage)

    def placed(self, cluster: Cluster, stage: Stage) -> None:
        """Notes that the stage's nodes have been handed over, knowing the cluster's present names."""
        mark = planning.hosts_mark(cluster)
        names = {node.name for node in nodes_of(cluster, stage)}
        self.done(
            cluster,
            stage,
            lambda n: msgspec.structs.replace(n, hosts=mark) if n.name in names else n,
        )

    def kill(self, cluster: Cluster, stage: Stage) -> None:
        """Has the scheduler kill the stage's nodes; it repeats that until they are dead."""
        user = self._user(cluster)
        if stage.whose == "all":
            self._fleet.kill(cluster.job, user)
        else:
            indexes = [node.index for node in nodes_of(cluster, stage)]
            self._fleet.resize(cluster.job, {}, indexes, user)

    def done(
        self,
        cluster: Cluster,
        stage: Stage,
        each: Callable[[NodeRecord], NodeRecord] = lambda node: node,
    ) -> None:
        """Notes that a stage is done; nodes that are gone for good lose their addresses, too."""
        gone = nodes_of(cluster, stage) if stage.does == "gone" and stage.whose != "all" else ()
        told = cluster.step == stage.name

        def change(c: Cluster) -> Cluster:
            changed = _with_done(c, stage.name)
            changed = msgspec.structs.replace(changed, nodes=tuple(each(node) for node in c.nodes))
            changed = without_nodes(changed, [node.name for node in gone])
            # What there was nothing to do for has its phase all the same.
            for phase in (stage.phase, stage.after):
                changed = changed if phase is None else move(changed, phase)
            return changed

        events = [self._event(cluster, "done", ok=True)] if told else []
        if stage.after is not None:
            events.append(self._event(cluster, f"is {stage.after.value}", "", "phase"))

        with self.store.transaction():
            for node in gone:
                self.store.networks.release(cluster.cluster_id, node.name)
            self._change(cluster, change, events)

    def finish(self, cluster: Cluster, stage: Stage) -> Cluster:
        """Ends the operation; of a cluster that is no more, nothing stays in use."""
        phase = stage.after or cluster.phase
        over = phase in (Phase.DELETED, Phase.FAILED)
        now = self.clock()

        def change(c: Cluster) -> Cluster:
            nodes = tuple(ended(node, now) for node in c.nodes) if over else c.nodes
            return msgspec.structs.replace(
                move(c, phase),
                operation=None,
                step="",
                nodes=nodes,
                progress=c.progress if phase is Phase.FAILED else 100,
                updated_at=now,
            )

        event = self._event(cluster, f"is {phase.value}", "", "phase")
        with self.store.transaction():
            if over:
                self.store.networks.release(cluster.cluster_id)
                self.store.secrets.delete(cluster.cluster_id)
            return self._change(cluster, change, [event])

    def fail(self, cluster: Cluster, step: str, reason: str) -> None:
        """Notes why the operation cannot succeed; what it has done is undone from here on."""
        reason = storable(reason)

        def change(c: Cluster) -> Cluster:
            assert c.operation is not None
            return msgspec.structs.replace(
                c,
                operation=msgspec.structs.replace(c.operation, done=()),
                failed_step=step,
                failed_in=c.phase,
                reason=reason,
                step="",
            )

        self._change(cluster, change, [self._event(cluster, f"failed: {reason}", step, ok=False)])

    def expire(self, cluster: Cluster) -> Cluster:
        """Begins the end of a cluster whose lease has ended."""
        now = self.clock()
        return self._change(
            cluster,
            lambda c: with_delete(c, "lease", now, lambda: str(uuid.uuid4())),
            [self._event(cluster, "its lease has ended", "", "phase")],
        )

    def stepped(self, run: Run, stage: Stage) -> None:
        """Notes what a step of the provider has come to."""
        run.flush()
        cluster, error = run.cluster, run.error
        if cluster.operation is None:
            return
        if error is not None and cluster.operation.kind != "delete" and stage.does != "hosts":
            self.fail(cluster, run.step, str(error))
            return
        text = "done" if error is None else f"failed: {error}"
        name = f"{stage.name}/{run.step}"
        event = self._event(cluster, text, run.step, ok=error is None)
        self._change(cluster, lambda c: _with_done(c, name), [event])

    # -- names and addresses in running nodes --------------------------------------------------------

    def needs_hosts(self, cluster: Cluster) -> bool:
        """Whether there are running nodes that do not know the names of the others as they are now."""
        return self._write_hosts is not None and bool(self._without_hosts(cluster))

    def rewrite(self, cluster: Cluster, run: Run) -> None:
        """Has running nodes know each other's names; those that cannot be reached are told of."""
        text, mark, write = planning.hosts_text(cluster), planning.hosts_mark(cluster), self._write_hosts
        assert write is not None

        def one(node: NodeRecord) -> NodeRecord | None:
            if run.cancelled():
                return None
            try:
                write(node, text)
            except GatewayError as error:
                run.tell(f"its names of hosts are as before: {error}", node=node.name, ok=False)
                return None
            return node

        nodes = self._without_hosts(cluster)
        with ThreadPoolExecutor(min(_WRITERS, len(nodes) or 1)) as pool:
            written = {n.name: n.task_id for n in pool.map(one, nodes) if n is not None}

        def note(c: Cluster) -> Cluster:
            return msgspec.structs.replace(
                c,
                nodes=tuple(
                    msgspec.structs.replace(n, hosts=mark)
                    if n.task_id is not None and written.get(n.name) == n.task_id
                    else n
                    for n in c.nodes
                ),
            )

        self.store.clusters.change(cluster.cluster_id, note)

    def _hosts_step(self, cluster: Cluster, context: object) -> None:
        assert isinstance(context, Run)
        self.rewrite(cluster, context)

    def _without_hosts(self, cluster: Cluster) -> list[NodeRecord]:
        if not planning.hosts(cluster):
            return []
        mark = planning.hosts_mark(cluster)
        operation = cluster.operation if not cluster.failed_step else None
        leaving = operation.removed if operation is not None else ()
        return [
            node
            for node in cluster.nodes
            if node.status is NodeStatus.RUNNING and node.hosts != mark and node.name not in leaving
        ]

    # -- within --------------------------------------------------------------------------------------

    def _change(
        self,
        cluster: Cluster,
        change: Callable[[Cluster], Cluster],
        events: Sequence[ClusterEvent] = (),
    ) -> Cluster:
        """Stores a change and what is to be told of it, if the operation is still the same."""

        def guarded(current: Cluster) -> Cluster:
            if _id_of(current.operation) != _id_of(cluster.operation):
                raise Superseded(f"something else has been begun with the cluster {cluster.key}")
            return change(current)

        with self.store.transaction():
            changed = self.store.clusters.change(cluster.cluster_id, guarded)
            self.store.events.append(events)
        return changed

    def _event(
        self,
        cluster: Cluster,
        text: str,
        step: str | None = None,
        kind: Literal["step", "phase"] = "step",
        ok: bool | None = None,
    ) -> ClusterEvent:
        return ClusterEvent(
            cluster.cluster_id,
            self.clock(),
            kind,
            storable(text),
            step=cluster.step if step is None else step,
            ok=ok,
            operation_id=_id_of(cluster.operation),
        )

    def _user(self, cluster: Cluster) -> str:
        return (cluster.operation.user if cluster.operation is not None else "") or cluster.owner


def is_final(error: GatewayError) -> bool:
    """Whether an error will be the same the next time."""
    return not isinstance(error, Unavailable | Superseded)


def _id_of(operation: Operation | None) -> str:
    return operation.operation_id if operation is not None else ""


def _with_done(cluster: Cluster, name: str) -> Cluster:
    operation = cluster.operation
    if operation is None or name in operation.done:
        return cluster
    return msgspec.structs.replace(
        cluster, operation=msgspec.structs.replace(operation, done=(*operation.done, name))
    )
