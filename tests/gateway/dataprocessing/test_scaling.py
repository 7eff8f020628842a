"""Which nodes come and which go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.clusters.model import Cluster, NodeStatus, Phase
from gateway.dataprocessing.errors import InvalidData, InvalidReference
from gateway.dataprocessing.scaling import check_active, scaling
from tests.gateway.dataprocessing.samples import a_cluster, group

FIRST = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def cluster() -> Cluster:
    """Active, with a master and three workers, whose ids are numbered UUIDs."""
    made = a_cluster(group("master", 1, "namenode"), group("worker", 3))
    nodes = tuple(
        msgspec.structs.replace(
            node,
            node_id=f"{FIRST[:-1]}{node.index}",
            task_id=f"t{node.index}",
            status=NodeStatus.RUNNING,
        )
        for node in made.nodes
    )
    return msgspec.structs.replace(made, phase=Phase.READY, operation=None, nodes=nodes)


def worker(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": "worker", "count": count, **fields}]


def test_a_group_grows(cluster: Cluster) -> None:
    plan = scaling(cluster, worker(5), ())
    assert (plan.add, plan.remove, plan.counts) == ({"worker": 2}, (), {"id-worker": 5})


def test_the_newest_go_unless_others_are_named(cluster: Cluster) -> None:
    assert scaling(cluster, worker(1), ()).remove == ("c1-worker-2", "c1-worker-1")
    assert scaling(cluster, worker(2, instances=["c1-worker-0"]), ()).remove == ("c1-worker-0",)
    by_id = worker(1, instances=[f"{FIRST[:-1]}1"])
    assert scaling(cluster, by_id, ()).remove == ("c1-worker-0", "c1-worker-2")


def test_a_group_as_it_is_needs_nothing(cluster: Cluster) -> None:
    assert scaling(cluster, worker(3), ()).is_nothing


def test_new_groups_come(cluster: Cluster) -> None:
    plan = scaling(cluster, worker(2), [group("extra", 2), group("empty", 0)])
    assert (plan.add, plan.remove) == ({"extra": 2}, ("c1-worker-2",))


@pytest.mark.parametrize(
    ("resizes", "error", "words"),
    [
        ([{"name": "nope", "count": 1}], InvalidReference, "Cluster doesn't contain node group with"),
        ([*worker(1), *worker(2)], InvalidData, "Duplicates in node group names"),
        (worker(2, instances=["c1-worker-0", "c1-worker-1"]), InvalidData, r"instances \(2\) to delete"),
        (worker(4, instances=["c1-worker-0"]), InvalidData, r"count difference \(0\)"),
        (worker(1, instances=["c1-worker-0"] * 2), InvalidData, "Duplicate entry for instances"),
        (worker(1, instances=["c1-worker-0", FIRST]), InvalidReference, "by Name or UUID, not both"),
        (worker(2, instances=["c1-master-0"]), InvalidReference, "doesn't contain an instance"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cluster: Cluster, resizes: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        scaling(cluster, resizes, ())


def test_a_new_group_has_a_new_name(cluster: Cluster) -> None:
    with pytest.raises(InvalidReference, match="Cluster already has nodegroup with name 'worker'"):
        scaling(cluster, (), [group("worker", 1)])


def test_only_an_active_cluster_is_scaled(cluster: Cluster) -> None:
    check_active(cluster)
    with pytest.raises(InvalidReference) as caught:
        check_active(a_cluster())
    assert str(caught.value) == (
        "Cluster cannot be scaled not in 'Active' status. Cluster status: Validating"
    )
