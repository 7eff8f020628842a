"""Every example of Savanna's document of its API v1.0, sent as written, is answered as it shows.

Where it is not, :data:`DIFFERENCES` says why: each is named there, and none that is not found any more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.clusters.model import Cluster
from gateway.dataprocessing.catalogue import CloudNetwork, Flavor, Image, Keypair
from gateway.dataprocessing.launching import Found, request, wanted
from gateway.dataprocessing.service import DataProcessing
from gateway.dataprocessing.status import status_of
from gateway.plugins.loader import Plugins
from gateway.plugins.vanilla.plugin import VanillaPlugin
from gateway.plugins.views import ClusterView
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara import examples
from tests.gateway.api.sahara.conftest import ask
from tests.gateway.api.sahara.examples import MISSING, Differs, Example
from tests.gateway.dataprocessing.world import FixedCatalogue, Still, World, moving

pytestmark = pytest.mark.gen_test(timeout=180)
Json = dict[str, Any]

TENANT = "775181"
IMAGE = "daa50c37-b11b-4f3d-a586-e5dcd0a4110f"
MASTER = "ea34d320-09d7-4dc1-acbf-75b57cec81c9"
WORKER = "6bbaba84-d936-4e76-9381-987d3568cf4c"
DELETED_GROUP = "060afabe-f4b3-487e-8d48-65c5bb5eb79e"
TEMPLATE = "c365b7dd-9b11-492d-a119-7ae023c19b51"
DELETED_TEMPLATE = "9d72bc1a-8d38-493e-99f3-ebca4ec99ad8"
NETWORK = "e017fdde-a2f7-41ed-b342-2d63083e7772"
# Of the section about clusters.
CLUSTERS_IMAGE = "db12c199-d0b5-47d3-8a97-e95eeaeae615"
CLUSTERS_TEMPLATE = "1bb1cced-765e-4a2b-a5b6-ac6bbb0bb798"
KEYPAIR = "doc-keypair"
SHOWN_CLUSTER = "c365b7dd-9b11-492d-a119-7ae023c19b51"
SCALED_CLUSTER = "9d7g51a-8123-424e-sdsr3-eb222ec989b1"
SCALED_TEMPLATE = "9426fcb7-4c61-457f-8138-ff3bcf8a55ae"
SCALED_MASTER = "e66689e0-4486-4634-ac92-66ac74a86ba6"
SCALED_WORKER = "24ed6654-7160-4705-85f3-9e28310842af"
BIG_WORKER = "daa50c37-b11b-4f3d-a586-e5dcd0a4110f"
FLAVOR = Flavor("42", "m1.nano", 0.1, 64, 1)
KINDS: tuple[Any, ...] = ("image", "node-group-template", "cluster-template", "plugin-labels")
PAGES = {
    "HDFS": {"Web UI": "http://172.18.79.166:50070"},
    "MapReduce": {"Web UI": "http://172.18.79.166:50030"},
}

ANYTHING = object()


class Difference(msgspec.Struct, frozen=True):
    """``examples`` and ``paths`` are regular expressions; ``shown`` is what the document has there, and
    ``mine`` what is answered."""

    examples: str
    paths: str
    why: str
    mine: Any = ANYTHING
    shown: Any = ANYTHING

    def covers(self, example: Example, one: Differs) -> bool:
        return bool(
            re.fullmatch(self.examples, example.name)
            and re.fullmatch(self.paths, one.path)
            and (self.mine is ANYTHING or self.mine == one.mine)
            and (self.shown is ANYTHING or self.shown == one.shown)
        )


DIFFERENCES = (
    # -- different each time
    Difference(".*", r".*\.(id|instance_id)", "ids are made anew"),
    Difference(".*", r".*\.(created|updated)", "when it was; only some examples show it"),
    Difference(
        "6.*", r".*\.(internal_ip|management_ip)", "the cloud's addresses; shown once there are any"
    ),
    # -- of plugins
    Difference("2.*", r".*\.(title|description)", "what a plugin says of itself"),
    Difference("2.*", r".*\.versions", "vanilla has a newer Hadoop, too", ["1.2.1", "3.4.1"]),
    Difference(
        "2.3/0", r"\.plugin\.configs\[.*\]", "the document shows a few of the options", shown=MISSING
    ),
    Difference("2.3/0", r".*\.config_values", "recorded: every option has them", None, MISSING),
    Difference("2.4/0", "status", "recorded: no plugin converts configuration files any more", 400),
    Difference("2.4/0", r"\.(cluster_template|error_.*)", "so there is a reason, and no template"),
    # -- shown, although nobody has given it
    Difference("[45].*", r".*\.description", "the document leaves out what is empty", "", MISSING),
    Difference("6\\.[123].*", r".*\.description", "6.4 shows it, the others leave it out", "", MISSING),
    # -- of clusters
    Difference(
        "6.2/0",
        r"\.cluster\.status_description",
        "here it says what an instance without a place waits for",
        shown=MISSING,
    ),
    Difference(
        "6.*",
        r".*\.instance_name",
        "recorded: nodes are numbered from 0, without zeros before: NAME-GROUP-0",
    ),
    Difference("6.3/.", r"\.cluster\.status", "recorded: the answer comes first", "Validating"),
    Difference(
        "6.3/.", r".*\.instances\[.\]", "recorded: nothing has been placed when it is answered", MISSING
    ),
    Difference(
        "6\\.[123].*",
        r".*\.cluster_template_id",
        "6.4 shows it, the others leave out which template it was",
        CLUSTERS_TEMPLATE,
        MISSING,
    ),
    Difference(
        "6.3/1",
        r".*\.(node_group_template_id|(node|cluster)_configs\..*)",
        "copied from the example before: this request names neither; see 5.3, without templates",
        MISSING,
    ),
    Difference(
        "6.4/0",
        r"\.cluster\.node_groups\[(worker|big-worker)\]\.(count|instances.*)",
        "recorded: they count when they are placed; the answer comes first",
    ),
    Difference(
        "6.4/0",
        r"\.cluster\.node_groups\[big-worker\]\.node_group_template_id",
        "the document shows another one than was asked for",
        BIG_WORKER,
    ),
)


class Hadoop(Still, VanillaPlugin):
    """Vanilla, on nodes on which nothing is done; its pages are those of the document."""

    def start_cluster(self, cluster: ClusterView) -> None:
        cluster.show(PAGES)


@pytest.fixture
def plugins() -> Plugins:
    return Plugins.of({"vanilla": Hadoop()})


@pytest.fixture
def catalogue() -> FixedCatalogue:
    return FixedCatalogue(
        (FLAVOR,),
        (
            Image(IMAGE, "fedoraSwift_hadoop_savanna_v02", "fedora"),
            Image(CLUSTERS_IMAGE, "fedoraSwift_hadoop_savanna_v02", "fedora"),
        ),
        (CloudNetwork(NETWORK, "private"),),
        (Keypair(KEYPAIR, "ssh-ed25519 AAAA"),),
    )


@pytest.fixture
def world(store: Store, plugins: Plugins, catalogue: FixedCatalogue) -> Iterator[World]:
    with moving(store, plugins, catalogue) as world:
        yield world


@pytest.fixture
def data(world: World) -> DataProcessing:
    return world.data


# -- what the document's server had ------------------------------------------------------------------

VANILLA = {"plugin_name": "vanilla", "hadoop_version": "1.2.1"}
GROUP: Json = {
    **VANILLA,
    "flavor_id": "42",
    "volumes_size": 10,
    "node_configs": {"HDFS": {}, "MapReduce": {}},
    "description": "",
}


class Scene:
    """Makes what an example presupposes, under the ids that it has in the document."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.data = world.data

    def clear(self) -> None:
        self.world.fleet.held.clear()
        for cluster in self.data.clusters.find(TENANT):
            self.data.clusters.delete(TENANT, cluster.cluster_id)
            self.world.gone(cluster)
            # The next one has its id.
            self.store.clusters.forget(cluster.cluster_id)
        for kind in KINDS:
            for one in self.store.objects.find(kind):
                self.store.objects.delete(kind, one.id)

    def image(self, *tags: str, description: str | None = None, image: str = IMAGE) -> None:
        self.data.images.register(TENANT, image, "ec2-user", description)
        if tags:
            self.data.images.tag(TENANT, image, tags)

    def group(self, name: str, object_id: str, *processes: str, **more: Any) -> None:
        given = {**GROUP, "name": name, "node_processes": list(processes), **more}
        made = self.data.node_group_templates.create(TENANT, given)
        self._rename("node-group-template", made.id, object_id)

    def groups(self, master: str = MASTER, worker: str = WORKER, **more: Any) -> None:
        self.group("master", master, "namenode", "jobtracker", **more)
        self.group("worker", worker, "datanode", "tasktracker")

    def template(
        self, object_id: str, master: str = MASTER, worker: str = WORKER, workers: int = 3
    ) -> None:
        configs: Json = {"HDFS": {}, "MapReduce": {}, "general": {}}
        given = {
            **VANILLA,
            "name": "cluster-template",
            "description": "",
            "cluster_configs": configs,
            "node_groups": [
                {"name": "master", "count": 1, "node_group_template_id": master},
                {"name": "worker", "count": workers, "node_group_template_id": worker},
            ],
        }
        made = self.data.cluster_templates.create(TENANT, given)
        self._rename("cluster-template", made.id, object_id)

    def cluster(self, cluster_id: str, template: str) -> Cluster:
        """Launches a cluster of a template, under an id of the document's."""
        given = {
            **VANILLA,
            "name": "doc-cluster",
            "cluster_template_id": template,
            "default_image_id": CLUSTERS_IMAGE,
            "user_keypair_id": KEYPAIR,
            "use_autoconfig": False,
        }
        asked = wanted(given, self.data.cluster_templates.get(TENANT, template), None)
        image = self.data.images.look(TENANT, CLUSTERS_IMAGE)
        assert image is not None
        found = Found(flavors={FLAVOR.id: FLAVOR}, images={CLUSTERS_IMAGE: image})
        return self.world.clusters.launch(request(asked, found, TENANT, cluster_id))

    def _rename(self, kind: Any, made: str, object_id: str) -> None:
        stored = self.store.objects.get(kind, made)
        self.store.objects.delete(kind, made)
        body = {**stored.body, "id": object_id}
        self.store.objects.add(msgspec.structs.replace(stored, id=object_id, body=body))


def with_template(scene: Scene, object_id: str = TEMPLATE) -> None:
    scene.groups()
    scene.template(object_id)


def cluster_image(scene: Scene) -> None:
    scene.image("vanilla", "1.2.1", image=CLUSTERS_IMAGE)


def with_cluster_template(scene: Scene) -> None:
    cluster_image(scene)
    with_template(scene, CLUSTERS_TEMPLATE)


def with_waiting_cluster(scene: Scene) -> None:
    with_cluster_template(scene)
    scene.world.fleet.held.add("doc-cluster-worker-2")
    made = scene.cluster(SHOWN_CLUSTER, CLUSTERS_TEMPLATE)
    scene.world.wait(made, lambda cluster: status_of(cluster) == "Waiting")


def with_active_cluster(scene: Scene) -> None:
    cluster_image(scene)
    scene.groups(SCALED_MASTER, SCALED_WORKER)
    scene.group("big-worker", BIG_WORKER, "datanode", "tasktracker")
    scene.template(SCALED_TEMPLATE, SCALED_MASTER, SCALED_WORKER, 2)
    made = scene.cluster(SCALED_CLUSTER, SCALED_TEMPLATE)
    scene.world.wait(made, lambda cluster: status_of(cluster) == "Active")


SCENES: dict[str, Callable[[Scene], None]] = {
    "3.1": lambda scene: scene.image("vanilla", "1.2.1"),
    "3.2": lambda scene: scene.image("vanilla", "1.2.1"),
    "3.3": lambda scene: scene.image("vanilla", "1.2.1"),
    "3.5": lambda scene: scene.image(),
    "3.6": lambda scene: scene.image(description="Fedora image"),
    "3.7": lambda scene: scene.image("tag1", "unnecessary_tag", description="Fedora image"),
    "4.1": lambda scene: scene.groups(),
    "4.2": lambda scene: scene.groups(floating_ip_pool="public"),
    "4.4": lambda scene: scene.group("worker", DELETED_GROUP, "datanode"),
    "5.1": with_template,
    "5.2": with_template,
    "5.3": lambda scene: scene.groups(),
    "5.4": lambda scene: with_template(scene, DELETED_TEMPLATE),
    "6.1": with_waiting_cluster,
    "6.2": with_waiting_cluster,
    "6.3": with_cluster_template,
    "6.4": with_active_cluster,
    "6.5": with_active_cluster,
}


# -- the examples ----------------------------------------------------------------------------------


def reason(example: Example, one: Differs) -> Difference | None:
    """Returns which known difference it is."""
    return next((known for known in DIFFERENCES if known.covers(example, one)), None)


async def test_examples(client: Client, world: World, shared: Path) -> None:
    scene = Scene(world)
    found = examples.read(shared)
    assert len(found) == 27
    wrong: list[str] = []
    used: set[str] = set()
    for one in found:
        scene.clear()
        SCENES.get(one.name.partition("/")[0], lambda scene: None)(scene)
        sent = None if one.body is None else json.dumps(one.body).encode()
        headers = {"Content-Type": "application/json"}
        answer = await client(one.method, one.path, sent, headers=headers)
        mine = {"status": answer.code, "": json.loads(answer.body) if answer.body else None}
        for path, shown in (("status", one.status), ("", one.answer)):
            for differs in examples.differences(shown, mine[path], path):
                known = reason(one, differs)
                used |= set() if known is None else {known.why}
                wrong += [f"{one.name} {one.path} {differs}"] if known is None else []
    assert wrong == [], "\n".join(wrong)
    # What is not found any more is no difference.
    assert [known for known in DIFFERENCES if known.why not in used] == []


async def test_failures_are_as_the_document_shows_them(
    client: Client, world: World, shared: Path
) -> None:
    scene = Scene(world)
    with_cluster_template(scene)
    shown = examples.fault(shared)
    create = next(one for one in examples.read(shared) if one.name == "6.3/0")
    body = {**create.body, "name": "test-cluster"}
    await ask(client, "POST", create.path, body, code=202)
    mine = await ask(client, "POST", create.path, body, code=shown["error_code"])
    assert set(mine) == set(shown)
    assert mine["error_code"] == shown["error_code"]
    # Sahara adds a line with the failure's id, and Savanna itself said NAME_ALREADY_EXISTS, too.
    assert mine["error_message"].splitlines()[0] == shown["error_message"]
    assert mine["error_name"] == shown["error_name"].removeprefix("CLUSTER_")
    scene.clear()


async def test_what_was_deleted_is_gone(client: Client, world: World) -> None:
    scene = Scene(world)
    with_template(scene)
    path = f"/v1.0/{TENANT}/cluster-templates/{TEMPLATE}"
    assert (await client("DELETE", path)).code == 204
    assert (await client("GET", path)).code == 404
    assert (await client("DELETE", path)).code == 404
