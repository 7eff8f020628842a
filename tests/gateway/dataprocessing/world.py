"""Data clusters with an engine, and a scheduler of the tests' own that moves everything on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint

import msgspec

from framework.model.errors import Unavailable
from gateway.clusters import keys
from gateway.clusters.course import Limits
from gateway.clusters.engine import Engine
from gateway.clusters.model import Cluster, NodeRecord
from gateway.clusters.networks import Network, expand
from gateway.clusters.planning import Rules
from gateway.clusters.service import Clusters
from gateway.dataprocessing.catalogue import CloudNetwork, Flavor, Image, Keypair
from gateway.dataprocessing.service import data_processing
from gateway.dataprocessing.status import status_of
from gateway.dataprocessing.verification import verification_of
from gateway.dataprocessing.verifier import Verifier
from gateway.plugins import loader
from gateway.plugins.calls import PluginCalls
from gateway.plugins.health import HealthCheck
from gateway.plugins.loader import Plugins
from gateway.plugins.provider import PluginProvider
from gateway.plugins.remote import Remote
from gateway.plugins.views import ClusterView
from gateway.store import Store
from tests.gateway.clusters.doubles import MemoryFleet

TENANT = "52778b7b79264c1397bd1e4486f41e35"
OTHER = "98c7a399e3be408aab60037603909d94"
IMAGE_ID = "aaaaaaaa-0000-0000-0000-000000000001"
PLAIN_ID = "aaaaaaaa-0000-0000-0000-000000000002"
NETWORK = "11111111-2222-3333-4444-555555555555"
FAKE = EntryPoint("fake", "gateway.plugins.fake.plugin:FakePlugin", loader.GROUP)
PATIENCE = 60.0


class FixedCatalogue(msgspec.Struct, frozen=True):
    """A catalogue that does not change."""

    all_flavors: tuple[Flavor, ...] = ()
    all_images: tuple[Image, ...] = ()
    all_networks: tuple[CloudNetwork, ...] = ()
    all_keypairs: tuple[Keypair, ...] = ()

    def flavors(self) -> Sequence[Flavor]:
        return self.all_flavors

    def images(self) -> Sequence[Image]:
        return self.all_images

    def networks(self) -> Sequence[CloudNetwork]:
        return self.all_networks

    def keypairs(self, tenant: str) -> Sequence[Keypair]:
        return [key for key in self.all_keypairs if key.tenant in ("", tenant)]


CATALOGUE = FixedCatalogue(
    (Flavor("42", "m1.nano", 0.1, 64, 0), Flavor("2", "m1.small", 1, 2048, 20)),
    (
        Image(IMAGE_ID, "cirros-fake", username="cirros", tags=("fake", "0.1")),
        Image(PLAIN_ID, "plain"),
    ),
    (CloudNetwork(NETWORK, "private"),),
    (Keypair("demo-key", "ssh-ed25519 AAAAuser demo", TENANT),),
)


class Still:
    """Makes a plugin's clusters of nodes on which nothing is done."""

    def validate_images(self, cluster: ClusterView, **_: object) -> None: ...
    def configure_cluster(self, cluster: ClusterView) -> None: ...
    def start_cluster(self, cluster: ClusterView) -> None: ...
    def scale_cluster(self, cluster: ClusterView, instances: object) -> None: ...
    def decommission_nodes(self, cluster: ClusterView, instances: object) -> None: ...
    def get_health_checks(self, cluster: ClusterView) -> list[HealthCheck]:
        return []


class World:
    """``data`` is what the API works with. ``fleet.full``, ``fleet.failing`` … are the scheduler's."""

    def __init__(
        self,
        store: Store,
        plugins: Plugins | None = None,
        catalogue: FixedCatalogue = CATALOGUE,
        plugin_secs: float = 20.0,
    ) -> None:
        self.store = store
        self.fleet = MemoryFleet(time.time)
        self.plugins = plugins or loader.load([FAKE])
        assert not self.plugins.broken
        provider = PluginProvider(self.plugins, _unreachable, self._secret)
        self.engine = Engine(
            store,
            self.fleet,
            {"plugin": provider},
            Rules(),
            time.time,
            cluster_name="devcluster",
            limits=Limits(place_secs=60.0),
            tick_secs=0.5,
            cancel_secs=1.0,
            write_hosts=lambda node, text: None,
        )
        self.clusters = Clusters(store, self.engine, self.fleet, Rules(), "devcluster", time.time)
        calls = PluginCalls(plugin_secs)
        self.data = data_processing(store, self.clusters, self.plugins, catalogue, time.time, calls)
        self.verifier = Verifier(store, self.plugins, _unreachable, calls, lambda: 1, time.time)
        store.networks.define(Network("private", "10.0.0.0/16", expand(["10.0.0.2-10.0.0.200"])))
        self._stopping = threading.Event()
        self._mover = threading.Thread(target=self._move, daemon=True)

    def start(self) -> None:
        self.engine.start()
        self.verifier.start()
        self._mover.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._mover.ident is not None:
            self._mover.join(30)
        self.verifier.stop()
        self.engine.stop()

    def _move(self) -> None:
        while not self._stopping.wait(0.01):
            self.fleet.settle()

    def _secret(self, cluster_id: str) -> str | None:
        return self.store.secrets.get(cluster_id, keys.SECRET)

    # -- what tests ask -----------------------------------------------------------------------------

    def wait(self, cluster: Cluster | str, until: Callable[[Cluster], bool]) -> Cluster:
        """Waits until a cluster is as wanted, and returns it."""
        cluster_id = cluster if isinstance(cluster, str) else cluster.cluster_id
        deadline = time.monotonic() + PATIENCE
        while not until(now := self.store.clusters.get(cluster_id)):
            story = [f"{e.step or e.node}: {e.text}" for e in self.store.events.read(cluster_id)]
            assert time.monotonic() < deadline, (status_of(now), now.reason, story[-20:])
            time.sleep(0.01)
        return now

    def active(self, cluster: Cluster | str) -> Cluster:
        """Waits until a cluster is active, and verified."""
        return self.wait(cluster, _is_active)

    def gone(self, cluster: Cluster | str) -> Cluster:
        return self.wait(cluster, lambda c: c.is_gone)

    def at_rest(self, cluster: Cluster | str) -> Cluster:
        """Waits until nothing is done to a cluster: it is active and verified, or failed, or gone."""
        return self.wait(cluster, lambda c: c.is_gone or _is_active(c) or _has_failed(c))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing is placed meanwhile: what nodes are made for is not over before this is left."""
        self.fleet.full = True
        try:
            yield
        finally:
            self.fleet.full = False

    def nothing_left(self, cluster: Cluster) -> bool:
        return (
            self.fleet.names(cluster.job) == []
            and self.store.networks.of(cluster.cluster_id) == []
            and self.store.secrets.names(cluster.cluster_id) == []
        )


def _is_active(cluster: Cluster) -> bool:
    seen = verification_of(cluster)
    is_seen = seen is not None and seen.status != "CHECKING"
    return status_of(cluster) == "Active" and not cluster.extra.get("verification_due") and is_seen


def _has_failed(cluster: Cluster) -> bool:
    return status_of(cluster) == "Error" and not cluster.is_busy


def _unreachable(
    cluster: Cluster, node: NodeRecord, cancelled: Callable[[], bool] | None = None
) -> Remote:
    raise Unavailable("the tests' nodes run nothing")


@contextmanager
def moving(store: Store, plugins: Plugins, catalogue: FixedCatalogue) -> Iterator[World]:
    """A world that goes on by itself until it is left."""
    world = World(store, plugins, catalogue)
    world.start()
    try:
        yield world
    finally:
        world.stop()
