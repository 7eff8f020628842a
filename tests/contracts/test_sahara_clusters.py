"""Contract: what was recorded of clusters at a real Sahara 19.0.0, asked of this server in that order.

As in :mod:`tests.contracts.test_sahara`; an engine moves the clusters, on a scheduler of the tests' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tornado.httpclient import HTTPResponse
from tornado.ioloop import IOLoop

from gateway.context import Gateway
from gateway.dataprocessing.service import DataProcessing
from gateway.dataprocessing.status import SCALING
from gateway.plugins.loader import Plugins
from gateway.store import Store
from tests.contracts.sahara_replay import Json, Known, Replay, body_of, differences, read
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import REGISTERED, TENANT, asking
from tests.gateway.dataprocessing.world import FixedCatalogue, World, moving

pytestmark = pytest.mark.gen_test(timeout=300)
# What had been created before.
EARLIER = (
    ("node-group-templates", "ngt.create"),
    ("node-group-templates", "ngt.create.full"),
    ("cluster-templates", "ct.create"),
)
# recording -> why it is not asked
LEFT_OUT = {
    "clusters.list.failed": "of clusters that are not among the recordings",
    "cluster.delete.plugins": "of clusters that are not among the recordings",
}
_CHECKS = {
    f"cluster.verification.checks[].{name}"
    for name in (
        *("id", "verification_id", "name", "status", "description"),
        *("created_at", "updated_at"),
    )
}
_SOONER = "the verification was still under way then, and here it is over"
KNOWN = Known(
    keys={
        "cluster.get": (_CHECKS, set(), _SOONER),
        "cluster.get.scaled_down": (_CHECKS, set(), _SOONER),
        "cluster.patch.verification": (
            set(),
            _CHECKS,
            "the answer shows the verification that begins, not the one before",
        ),
    }
)


@pytest.fixture
def world(store: Store, plugins: Plugins, catalogue: FixedCatalogue) -> Iterator[World]:
    with moving(store, plugins, catalogue) as world:
        world.data.images.register(TENANT, REGISTERED, "cirros")
        world.data.images.tag(TENANT, REGISTERED, ["fake", "0.1"])
        yield world


@pytest.fixture
def data(world: World) -> DataProcessing:
    return world.data


class Scene:
    """Sees to it that things are as they were when something was recorded."""

    def __init__(self, world: World, replay: Replay) -> None:
        self.world = world
        self.replay = replay

    def cluster(self, name: str) -> str:
        found = self.world.data.clusters.find(TENANT)
        return next(cluster.cluster_id for cluster in found if cluster.name == name)

    def active(self, name: str) -> None:
        self.world.fleet.full = False
        self.world.active(self.cluster(name))

    def gone(self, name: str) -> None:
        if any(cluster.name == name for cluster in self.world.data.clusters.find(TENANT)):
            self.world.gone(self.cluster(name))

    def failed(self, name: str) -> None:
        self.world.wait(self.cluster(name), lambda c: c.phase == "error")

    def full(self) -> None:
        """Whatever is asked for from now on does not come."""
        self.world.fleet.full = True

    def failing(self, *nodes: str) -> None:
        self.world.fleet.failing |= set(nodes)

    def stuck(self) -> None:
        """What is killed from now on does not end."""
        self.world.fleet.stuck = True


BEFORE: Mapping[str, Callable[[Scene], None]] = {
    "cluster.get": lambda scene: scene.active("c1"),
    "cluster.get.after_verification": lambda scene: scene.active("c1"),
    "cluster.scale.up": lambda scene: scene.full(),
    "cluster.get.scaled_up": lambda scene: scene.active("c1"),
    "cluster.get.scaled_down": lambda scene: scene.active("c1"),
    "cluster.get.gone": lambda scene: scene.gone("c1"),
    "cluster.fail.create": lambda scene: scene.failing("failc-w-0"),
    "cluster.fail.get": lambda scene: scene.failed("failc"),
    "cluster.failscale.put": lambda scene: (scene.active("okc"), scene.failing("okc-failng-0"))[0],
    "cluster.failscale.get": lambda scene: scene.active("okc"),
    "cluster.deleting.delete": lambda scene: scene.stuck(),
}


async def test_recordings(
    client: Client, gateway: Gateway, store: Store, world: World, shared: Path
) -> None:
    gateway.access = asking()
    replay = Replay(client, store, world.data)
    scene = Scene(world, replay)
    for name, label in EARLIER:
        recording = next(one for one in read(shared, name) if one["label"] == label)
        assert (await replay.ask(recording)).code == 202
    wrong = []
    for recording in read(shared, "clusters"):
        label = recording["label"]
        if label in LEFT_OUT:
            continue
        if label in BEFORE:
            await IOLoop.current().run_in_executor(None, BEFORE[label], scene)
        if label == "cluster.delete.multi":
            replay.ids |= dict(zip(MULTI, sorted_ids(world, "multi-"), strict=False))
        answer = await replay.ask(recording)
        wrong += differences(recording, answer, KNOWN) or also_different(recording, answer, replay.ours)
    world.fleet.stuck = False
    assert wrong == [], "\n".join(wrong)


MULTI = ("089e7a8f-7a4f-4dbd-85d8-b4f9a899e686", "e6288a99-48f3-47bd-a7b5-6a9afc48f58d")


def sorted_ids(world: World, prefix: str) -> list[str]:
    found = [c for c in world.data.clusters.find(TENANT) if c.name.startswith(prefix)]
    return [c.cluster_id for c in sorted(found, key=lambda c: c.name)]


def also_different(recording: Json, answer: HTTPResponse, ours: Callable[[str], str]) -> list[str]:
    """As :func:`differences`, of what is said of clusters: sentences, in which ``ours`` puts our ids for
    theirs, and statuses."""
    label, theirs = recording["label"], recording["response"]["body"] or {}
    body = body_of(answer) or {}
    found = []
    if "error_name" in body and first_line(body) != _as_far_as(
        first_line(body), ours(first_line(theirs))
    ):
        found.append(f"{label}: {first_line(body)!r}, not {first_line(theirs)!r}")
    status = theirs.get("cluster", {}).get("status")
    if status is not None and body["cluster"]["status"] != status:
        found.append(f"{label}: {body['cluster']['status']}, not {status}")
    return found


def _as_far_as(mine: str, theirs: str) -> str:
    """Returns their sentence about a cluster that is being scaled, with how far ours is by now: it goes
    on while it is asked about."""
    begin, colon, status = theirs.rpartition("Cluster status: ")
    reached = mine.rpartition(colon)[2] if colon else ""
    return f"{begin}{colon}{reached}" if {status, reached} <= set(SCALING[:-1]) else theirs


def first_line(body: Json) -> str:
    return str(body["error_message"]).partition("\n")[0]
