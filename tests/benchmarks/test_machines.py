"""The fake master's agents give what they have, once, and offer the rest again."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.machines import Machines
from benchmarks.mesos_json import Agents, agent_id

TASK, EXECUTOR = {"cpus": 1.0, "mem": 100.0, "disk": 10.0}, {"cpus": 0.5, "mem": 50.0}


def cpus(offer: dict[str, Any]) -> float:
    return float(next(r["scalar"]["value"] for r in offer["resources"] if r["name"] == "cpus"))


def ids(offers: list[dict[str, Any]]) -> list[str]:
    return [offer["id"]["value"] for offer in offers]


def test_what_is_left_is_offered_again() -> None:
    machines = Machines(Agents(2, cpus=4.0), 0.0)
    first = machines.take_offers(0.0)
    assert [cpus(offer) for offer in first] == [4.0, 4.0]
    assert machines.take_offers(9.0) == []
    assert machines.next() is None
    machines.launch(ids(first[:1]), agent_id(0), [TASK, TASK], EXECUTOR, 10.0)
    assert machines.next() == 11.0
    again = machines.take_offers(11.0)
    assert [cpus(offer) for offer in again] == [1.5]
    assert again[0]["agent_id"]["value"] == agent_id(0)
    assert not set(ids(again)) & set(ids(first))
    # The executor is there already.
    machines.launch(ids(again), agent_id(0), [TASK], EXECUTOR, 12.0)
    assert [cpus(offer) for offer in machines.take_offers(13.0)] == [0.5]
    with pytest.raises(ValueError, match="is to give"):
        machines.launch([], agent_id(0), [TASK], EXECUTOR, 14.0)


def test_what_is_declined_comes_back_when_it_is_wanted() -> None:
    machines = Machines(Agents(1), 0.0)
    machines.decline(ids(machines.take_offers(0.0)), 0.0, 60.0)
    assert machines.take_offers(59.0) == []
    machines.suppress()
    assert (machines.take_offers(61.0), machines.next()) == ([], None)
    machines.revive(62.0)
    assert len(machines.take_offers(62.0)) == 1
