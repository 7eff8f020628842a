"""Gangs of sticky nodes with disks among the other jobs, while everything goes wrong that can.

The machine, the small Mesos and what must hold are those of test_faults.py. Beyond that, here: a gang
is placed whole, no disk is used twice, and what a node has left on its disks is its successor's.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from framework.core import messages as m
from framework.model.jobs import JobKey
from framework.model.tasks import ON_AGENT
from tests.framework.core.rig import config, spec
from tests.framework.core.test_faults import LONG, STEPS, Faults

GANGS = [JobKey("devcluster", "ann", "paas", name) for name in ("hadoop-1", "mariadb-1")]
EXAMPLES = 2_000 if LONG else 120
which_gang = st.integers(0, 1)


def node(version: int, instance: int) -> Any:
    """Three of a gang's nodes have a disk, two of them have to be on different hosts."""
    tagged: dict[str, Any] = {"tags": ("data",), "limit_among": "data"} if instance < 2 else {}
    return config(
        f"{version}-{instance}", cpus=0.5, data_disks=int(instance < 3), sticky=instance < 3, **tagged
    )


class GangFaults(Faults):
    placed = 0

    @initialize(partition_aware=st.booleans(), hopeless=st.booleans())
    def start(self, partition_aware: bool, hopeless: bool) -> None:
        super().start(partition_aware, hopeless)
        # What a small agent has is soon taken by others, for good; there a node could not come back.
        # Of each gang at most two nodes with a disk are on a host of their own choice or their limit's,
        # so that with four disks there is a place for every node whatever was placed before.
        for name in ("S1", "S2"):
            self.mesos.agents[name].disks = ("disk1", "disk2", "disk3", "disk10")

    @rule(which=which_gang, nodes=st.integers(1, 4), version=st.integers(0, 3))
    def create_gang(self, which: int, nodes: int, version: int) -> None:
        configs = {i: node(version, i) for i in range(nodes)}
        self.gateway.command(m.CreateGang, spec=spec(nodes, key=GANGS[which]), configs=configs)

    @rule(which=which_gang, add=st.sets(st.integers(0, 4)), remove=st.sets(st.integers(0, 3)))
    def resize_gang(self, which: int, add: set[int], remove: set[int]) -> None:
        configs = {i: node(9, i) for i in add - remove}
        self.gateway.command(m.ResizeGang, key=GANGS[which], add=configs, remove=tuple(remove))

    @rule(which=which_gang, instance=st.none() | st.integers(0, 3))
    def kill_gang(self, which: int, instance: int | None) -> None:
        chosen = None if instance is None else (instance,)
        self.gateway.command(m.KillTasks, key=GANGS[which], instances=chosen)

    @rule(which=which_gang, instance=st.integers(0, 3))
    def restart_node(self, which: int, instance: int) -> None:
        settings = spec(1).update
        self.gateway.command(m.StartRestart, key=GANGS[which], instances=(instance,), settings=settings)

    @rule(
        host=st.sampled_from(["h1.example", "h2.example"]),
        names=st.sets(st.sampled_from(["disk1", "x"])),
    )
    def withhold(self, host: str, names: set[str]) -> None:
        self.gateway.command(m.WithholdDisks, disks={host: tuple(names)})

    @rule(n=st.integers(0, 5), kind=st.sampled_from(["part", "rejoin", "rejoin"]))
    def change_agent(self, n: int, kind: str) -> None:
        """No agent comes back as another: before its end is known, its disks would look free."""
        super().change_agent(n, kind)

    def _unsettled(self) -> str:
        """Says, of a task that waits, why."""
        why = super()._unsettled()
        task_id = why.partition(" ")[0]
        if not why.endswith("is PENDING"):
            return why
        reasons = self.gateway.scheduler.pending_reasons(task_id)
        return "; ".join([why, *(reason.reason for reason in reasons)])

    @invariant()
    def disks_are_one_task_s(self) -> None:
        if not hasattr(self, "gateway"):
            return
        for agent in self.mesos.agents.values():
            names = [name for entry in agent.live() for name in entry.task.disks]
            assert len(names) == len(set(names)), (agent.agent_id, names)
        tasks = self.gateway.store.tasks
        for task in tasks.values():
            before = tasks.get(task.ancestor_id or "")
            # What ran with a disk, and is wanted as it was, comes back to that disk.
            if before is None or not task.config.sticky or before.config != task.config:
                continue
            if any(event.state == "RUNNING" for event in before.events):
                assert task.home is not None
                assert (task.home.hostname, task.home.disks) == (before.hostname, before.disks)
        for task in tasks.values():
            if task.gang and task.state in ON_AGENT:
                type(self).placed += 1


@pytest.mark.slow
def test_gangs_and_their_disks_survive_whatever_goes_wrong() -> None:
    GangFaults.placed = 0
    run_state_machine_as_test(
        GangFaults,
        settings=hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None),
    )
    assert GangFaults.placed > EXAMPLES, "gangs were seen placed"
