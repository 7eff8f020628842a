"""clusters.json, and what stands behind each cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from framework.model.errors import Invalid, NotFound, NotSupported
from gateway.schedulers.base import SchedulerBackend
from gateway.schedulers.registry import Cluster, Registry, external, internal, read_clusters


class Named:
    def __init__(self, name: str, problems: tuple[str, ...] = ()) -> None:
        self.name = name
        self.problems = problems

    def health(self) -> dict[str, Any]:
        return {"ready": not self.problems, "problems": list(self.problems)}


class Keeping(Named):
    def health(self) -> dict[str, Any]:
        return {**super().health(), "stored": ["devcluster", "former"]}


def make(name: str) -> SchedulerBackend:
    return cast(SchedulerBackend, Named(name))


def clusters_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clusters.json"
    path.write_text(text)
    return path


def test_auroras_own_file(tmp_path: Path) -> None:
    path = clusters_file(
        tmp_path,
        """[{
          "auth_mechanism": "UNAUTHENTICATED",
          "name": "west",
          "scheduler_zk_path": "/aurora/scheduler",
          "slave_root": "/var/lib/mesos",
          "zk": "192.168.33.7"
        }, {"name": "east", "scheduler_uri": "http://east.example:8081"}, {"name": "here"}]""",
    )
    assert read_clusters(path) == (
        Cluster("west", "192.168.33.7"),
        Cluster("east", "http://east.example:8081"),
        Cluster("here"),
    )


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("", "not JSON"),
        ("[{]", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"name": "x"}', "list"),
        ("[7]", "entry 1"),
        ('[{"name": "a"}, {}]', "entry 2"),
        ('[{"name": 7}]', "name"),
        ('[{"name": "-x"}]', "not a valid name"),
        ('[{"name": "a", "zk": {"a": 1}}]', "zk"),
        ('[{"name": "a"}, {"name": "a"}]', "more than once"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, about: str) -> None:
    path = clusters_file(tmp_path, text)
    with pytest.raises(Invalid, match=about) as error:
        read_clusters(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_clusters(tmp_path / "clusters.json")


def test_the_own_scheduler_serves_its_cluster_and_those_without_another() -> None:
    elsewhere = Cluster("east", "http://east.example:8081")
    registry = internal((Cluster("here"), elsewhere), "devcluster", make)
    assert registry.clusters == ("devcluster", "here")
    assert cast(Named, registry.backend("here")).name == "here"
    with pytest.raises(NotSupported, match=r"east\.example:8081.*--executor external"):
        registry.backend("east")
    with pytest.raises(NotFound, match=r"'west'; known are devcluster, here"):
        registry.backend("west")


def test_the_own_cluster_wins_over_the_file() -> None:
    registry = internal((Cluster("devcluster", "zk.example"),), "devcluster", make)
    assert registry.clusters == ("devcluster",)


def test_an_aurora_client_serves_what_the_file_lists_or_anything_without_one() -> None:
    listed = external((Cluster("east", "x"), Cluster("west")), make)
    assert listed.clusters == ("east", "west")
    with pytest.raises(NotFound, match="known are east, west"):
        listed.backend("north")
    assert cast(Named, external((), make).backend("north")).name == "north"


def test_no_name_is_asked_for_that_is_none() -> None:
    with pytest.raises(Invalid):
        external((), make).backend("--help")


def test_health_adds_up() -> None:
    sick = cast(SchedulerBackend, Named("b", ("no master",)))
    state = Registry({"a": make("a"), "b": sick}).health()
    assert state["ready"] is False
    assert state["problems"] == ["b: no master"]
    assert state["clusters"]["a"] == {"ready": True, "problems": []}


def test_health_warns_of_jobs_whose_cluster_is_not_known_any_more() -> None:
    kept = cast(SchedulerBackend, Keeping("devcluster"))
    state = Registry({"devcluster": kept, "east": kept}).health()
    (warning,) = state["warnings"]
    assert "jobs of the cluster former:" in warning
    assert state["clusters"]["devcluster"] == {"ready": True, "problems": []}
    known = Registry({"devcluster": kept, "former": kept}).health()
    assert known["warnings"] == []
