"""What plugins advise, for clusters that are made and for clusters that are scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from framework.model.errors import Invalid
from gateway.clusters.model import Cluster
from gateway.dataprocessing import advice
from gateway.dataprocessing.advice import Advice
from gateway.dataprocessing.catalogue import Flavor, Image
from gateway.plugins.exceptions import CannotScale, InvalidValue
from gateway.plugins.fake.plugin import FakePlugin
from gateway.plugins.loader import Plugins
from gateway.plugins.spark.plugin import SparkPlugin
from gateway.plugins.spi import Plugin
from gateway.plugins.vanilla.plugin import VanillaPlugin
from gateway.plugins.views import ClusterView, freeze
from gateway.store import Store
from tests.gateway.dataprocessing import asks, samples
from tests.gateway.dataprocessing.asks import given, group
from tests.gateway.dataprocessing.world import CATALOGUE, TENANT, FixedCatalogue, Still, World

# -- taken in -------------------------------------------------------------------------------------

ADVICE = Advice(
    {"general": {"x": 9, "y": 9}},
    {"a": {"HDFS": {"heap": 9, "more": 9}, "general": {"x": 7}}, "b": {"HDFS": {"heap": 9}}},
)
GROUPS = (
    samples.group("a", 1, node_configs={"HDFS": {"heap": 5}}),
    samples.group("b", 1, use_autoconfig=False),
)


def configs_of(cluster: Cluster) -> dict[str, Any]:
    return {g.name: g.extra["node_configs"] for g in cluster.groups}


def test_advice_is_for_what_was_left_open() -> None:
    asked = samples.a_wanted(*GROUPS, cluster_configs={"general": {"x": 1}})
    found = advice.for_request(asked, ADVICE)
    assert found.cluster_configs == {"general": {"x": 1, "y": 9}}
    # What is said for the whole cluster is not hidden by an option of a group.
    assert [one.node_configs for one in found.groups] == [{"HDFS": {"heap": 5, "more": 9}}, {}]


def test_a_cluster_that_is_there_is_advised_in_the_same_way() -> None:
    made = samples.a_cluster(*GROUPS)
    made = msgspec.structs.replace(made, extra={**made.extra, "cluster_configs": {"general": {"x": 1}}})
    found = advice.for_cluster(made, ADVICE)
    assert found.extra["cluster_configs"] == {"general": {"x": 1, "y": 9}}
    assert configs_of(found) == {"a": {"HDFS": {"heap": 5, "more": 9}}, "b": {}}
    assert advice.for_cluster(found, ADVICE) == found


def test_who_wants_no_advice_gets_none() -> None:
    asked = samples.a_wanted(*GROUPS, use_autoconfig=False)
    assert advice.for_request(asked, ADVICE) == asked
    made = samples.a_cluster(*GROUPS)
    made = msgspec.structs.replace(made, extra={**made.extra, "use_autoconfig": False})
    assert advice.for_cluster(made, ADVICE) == made


def test_advice_is_read_in_its_shape() -> None:
    assert advice.read("p", None) == advice.read("p", {}) == Advice()
    frozen = freeze({"cluster_configs": {"general": {"x": [1, 2]}}})
    assert advice.read("p", frozen) == Advice({"general": {"x": [1, 2]}})
    with pytest.raises(Invalid, match=r"recommend_configs of the plugin p has returned .*node_configs"):
        advice.read("p", {"node_configs": {"a": 5}})
    with pytest.raises(Invalid, match="no advice: Expected `object`, got `str`"):
        advice.read("p", "more memory")


# -- asked for ------------------------------------------------------------------------------------


class Advising(FakePlugin):
    """Advises groups to wait for ``seconds``; ``asked``: which method was called, and what it saw."""

    def __init__(self) -> None:
        self.seconds = 1
        self.asked: list[tuple[str, bool, dict[str, int]]] = []

    def recommend_configs(self, cluster: ClusterView, scaling: bool = False) -> dict[str, Any]:
        self._note("recommend_configs", cluster, scaling)
        return {
            "cluster_configs": {"general": {"Delay": 0}},
            "node_configs": {
                str(one.name): waits(self.seconds) for one in cluster.node_groups if self.seconds
            },
        }

    def validate_scaling(
        self, cluster: ClusterView, existing: Mapping[str, int], additional: Mapping[str, int]
    ) -> None:
        self._note("validate_scaling", cluster, True)
        # It judges the cluster with what has been advised.
        for one in cluster.node_groups:
            if one.node_configs.to_dict() == waits(101):
                raise CannotScale(str(one.name), "it would take too long")

    def _note(self, method: str, cluster: ClusterView, scaling: bool) -> None:
        counts = {str(one.name): int(one["count"]) for one in cluster.node_groups}
        self.asked.append((method, scaling, counts))


class StillSpark(Still, SparkPlugin): ...


class StillVanilla(Still, VanillaPlugin): ...


SPARK_IMAGE, VANILLA_IMAGE = (f"bbbbbbbb-0000-0000-0000-00000000000{n}" for n in (1, 2))
PARTS = FixedCatalogue(
    (*CATALOGUE.flavors(), Flavor("4", "m1.medium", 4, 8192, 20)),
    (
        *CATALOGUE.images(),
        Image(SPARK_IMAGE, "spark", username="spark", tags=("spark", "3.5")),
        Image(VANILLA_IMAGE, "hadoop", username="hadoop", tags=("vanilla", "3.4.1")),
    ),
    tuple(CATALOGUE.networks()),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a plugin that advises, and with those that come with the gateway."""
    plugins: dict[str, Plugin] = {
        "fake": Advising(),
        "spark": StillSpark(),
        "vanilla": StillVanilla(),
    }
    store = Store(str(tmp_path_factory.mktemp("advice") / "state.db"))
    world = World(store, Plugins.of(plugins), PARTS)
    world.start()
    yield world
    world.stop()
    store.close()


@pytest.fixture
def plugin(world: World) -> Advising:
    advising = world.plugins.get("fake")
    assert isinstance(advising, Advising)
    advising.asked.clear()
    advising.seconds = 1
    return advising


def waits(seconds: int) -> dict[str, Any]:
    return {"general": {"Heat Wait Condition timeout": seconds}}


def test_a_new_cluster_is_made_as_advised(world: World, plugin: Advising) -> None:
    made = world.data.launches.create(TENANT, given())
    assert made.extra["cluster_configs"] == {"general": {"Delay": 0}}
    assert configs_of(made) == {"master": waits(1), "worker": waits(1)}
    assert plugin.asked == [("recommend_configs", False, {"master": 1, "worker": 2})]
    left = world.data.launches.create(TENANT, given(use_autoconfig=False))
    assert (left.extra["cluster_configs"], configs_of(left)) == ({}, {"master": {}, "worker": {}})
    assert len(plugin.asked) == 1


def test_a_cluster_is_scaled_as_advised(world: World, plugin: Advising) -> None:
    workers = group("worker", 2, node_configs=waits(5))
    asked = given(node_groups=[group("master", 1, "namenode", use_autoconfig=False), workers])
    made = world.active(world.data.launches.create(TENANT, asked))
    plugin.asked.clear()
    plugin.seconds = 2
    new = [group("extra", 1), group("own", 1, node_configs=waits(7))]
    world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": new})
    grown = world.active(made)
    # Advice is asked for first, with new groups empty as yet; then the cluster is judged with it.
    empty = {"master": 1, "worker": 2, "extra": 0, "own": 0}
    assert plugin.asked == [("recommend_configs", True, empty), ("validate_scaling", True, empty)]
    assert configs_of(grown) == {
        "master": {},
        "worker": waits(5),
        "extra": waits(2),
        "own": waits(7),
    }
    assert grown.extra["cluster_configs"] == {"general": {"Delay": 0}}
    assert asks.sizes(grown) == {"master": 1, "worker": 2, "extra": 1, "own": 1}


def test_what_is_open_in_groups_that_are_there_is_advised_when_scaling(
    world: World, plugin: Advising
) -> None:
    plugin.seconds = 0
    made = world.active(world.data.launches.create(TENANT, given()))
    bare = [msgspec.structs.replace(g, extra={**g.extra, "node_configs": {}}) for g in made.groups]
    world.store.clusters.change(
        made.cluster_id,
        lambda c: msgspec.structs.replace(
            c, groups=tuple(bare), extra={**c.extra, "cluster_configs": {}}
        ),
    )
    plugin.seconds = 3
    resize = {"resize_node_groups": [{"name": "worker", "count": 3}]}
    world.data.clusters.scale(TENANT, made.cluster_id, resize)
    grown = world.active(made)
    assert configs_of(grown) == {"master": waits(3), "worker": waits(3)}
    assert grown.extra["cluster_configs"] == {"general": {"Delay": 0}}


def test_who_wants_no_advice_is_scaled_without(world: World, plugin: Advising) -> None:
    made = world.active(world.data.launches.create(TENANT, given(use_autoconfig=False)))
    world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [group("extra", 1)]})
    grown = world.active(made)
    assert [method for method, *_ in plugin.asked] == ["validate_scaling"]
    assert configs_of(grown) == {"master": {}, "worker": {}, "extra": {}}


def test_advice_of_a_scaling_that_is_refused_is_not_kept(world: World, plugin: Advising) -> None:
    made = world.active(world.data.launches.create(TENANT, given()))
    plugin.seconds = 101
    with pytest.raises(CannotScale, match="it would take too long"):
        world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [group("extra", 1)]})
    after = world.store.clusters.get(made.cluster_id)
    assert (configs_of(after), after.extra) == (configs_of(made), made.extra)
    assert not after.is_busy


def test_workers_of_spark_that_come_later_use_what_their_nodes_have(world: World) -> None:
    asked = given(
        plugin_name="spark",
        hadoop_version="3.5",
        default_image_id=SPARK_IMAGE,
        node_groups=[
            group("master", 1, "master", flavor_id="2"),
            group("worker", 1, "slave", flavor_id="2"),
        ],
    )
    made = world.active(world.data.launches.create(TENANT, asked))
    first = {"Spark": {"Worker cores": 1, "Worker memory": 1280}}
    assert configs_of(made) == {"master": {}, "worker": first}
    big = group("big", 1, "slave", flavor_id="4", node_configs={"Spark": {"Worker cores": 2}})
    world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [big]})
    grown = world.active(made)
    assert configs_of(grown) == {
        "master": {},
        "worker": first,
        "big": {"Spark": {"Worker cores": 2, "Worker memory": 7424}},
    }
    bad = group("bad", 1, "slave", flavor_id="4", node_configs={"Spark": {"Worker port": "x"}})
    with pytest.raises(InvalidValue, match="the option 'Worker port' of Spark cannot be 'x'"):
        world.data.clusters.scale(TENANT, made.cluster_id, {"add_node_groups": [bad]})


def test_nodes_of_hadoop_that_come_later_use_what_they_have(world: World) -> None:
    asked = given(
        plugin_name="vanilla",
        hadoop_version="3.4.1",
        default_image_id=VANILLA_IMAGE,
        node_groups=[
            group("master", 1, "namenode", "resourcemanager", flavor_id="4"),
            group("worker", 1, "datanode", "nodemanager", flavor_id="4"),
        ],
    )
    made = world.active(world.data.launches.create(TENANT, asked))
    assert made.extra["cluster_configs"]["HDFS"] == {"dfs.replication": 1}
    world.data.clusters.scale(
        TENANT,
        made.cluster_id,
        {"add_node_groups": [group("small", 3, "datanode", "nodemanager", flavor_id="2")]},
    )
    grown = world.active(made)
    # What is said of the whole cluster stays: files of nodes that run have it already.
    assert grown.extra["cluster_configs"] == made.extra["cluster_configs"]
    found = {name: configs.get("YARN", {}) for name, configs in configs_of(grown).items()}
    cpus, memory = "yarn.nodemanager.resource.cpu-vcores", "yarn.nodemanager.resource.memory-mb"
    assert found == {
        "master": {},
        "worker": {cpus: 4, memory: 5888},
        "small": {cpus: 1, memory: 512},
    }
