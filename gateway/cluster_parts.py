"""From options to what clusters of products are made with: started after the scheduler, ended before."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from framework.clock import Clock
from framework.mesos.masters import Address
from framework.model.errors import Conflict, GatewayError, Invalid, Unavailable
from framework.remote import Remote
from framework.replica import Replica
from framework.service import SchedulerService
from gateway.auth.signed import new_key, script_token
from gateway.clusters import keys
from gateway.clusters.acts import HostsWriter
from gateway.clusters.catalogue import Catalogue
from gateway.clusters.course import Limits
from gateway.clusters.definitions import read_networks
from gateway.clusters.disks import Disks
from gateway.clusters.engine import Engine
from gateway.clusters.fleet import SchedulerFleet
from gateway.clusters.isolation import Isolator
from gateway.clusters.kv import KeyValues
from gateway.clusters.launching import Launcher
from gateway.clusters.mirror import ConsulMirror, consul_url
from gateway.clusters.model import Cluster, NodeRecord
from gateway.clusters.networks import Network, check_apart
from gateway.clusters.orchestration import Addresses, ProductProvider
from gateway.clusters.planning import Rules
from gateway.clusters.rendering import Renderer
from gateway.clusters.scripts import ScriptRunner
from gateway.clusters.service import Clusters
from gateway.context import ClusterParts
from gateway.dataprocessing.catalogue_file import Offers, default_image, read_catalogue
from gateway.dataprocessing.keypairs import Keypairs
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.dataprocessing.service import DataProcessing, data_processing
from gateway.dataprocessing.verifier import Verifier
from gateway.metrics import Metrics
from gateway.options import Options
from gateway.plugins import loader
from gateway.plugins.calls import PluginCalls
from gateway.plugins.channels import Channels
from gateway.plugins.provider import PluginProvider
from gateway.policy import Policy
from gateway.store import Store
from gateway.workers import WorkerProcesses

log = logging.getLogger(__name__)

_HOSTS_SECS = 30.0
_SCRIPT_KEY = "script-tokens"


class Term:
    """Whether this process leads, and what is done first when it does.

    Only a leader may write; so the key of the scripts' tokens is made, and the networks of the file
    are stored, when it begins to lead.
    """

    def __init__(
        self, store: Store, service: SchedulerService | Replica, networks: Sequence[Network]
    ) -> None:
        self._store = store
        self._service = service
        self._networks = networks
        self._begun: int | None = None
        self.script_key: str | None = None
        self.revoked = store.revocations

    def epoch(self) -> int:
        """What the store is fenced with; 0, which nobody leads with, for who does not lead."""
        if isinstance(self._service, Replica) and not self._service.leads:
            return 0
        return self._service.status().epoch

    def __call__(self) -> int | None:
        """Returns the epoch that this process leads with, None while it does not. Blocks at first."""
        epoch = self.epoch()
        if not epoch:
            if self.script_key is None:
                # Who does not lead knows the tokens of users, too, once there is a key.
                self.script_key = self._store.secrets.get("", _SCRIPT_KEY)
            with contextlib.suppress(Unavailable):  # once more at the next turn
                self.revoked.read()
            return None
        if epoch != self._begun:
            self.begin()
            self._begun = epoch
        return epoch

    def begin(self) -> None:
        """Raises what the store raises, and :class:`Conflict` for a network that cannot be changed."""
        with self._store.transaction():
            key = self._store.secrets.get("", _SCRIPT_KEY)
            if key is None:
                key = new_key()
                self._store.secrets.put("", _SCRIPT_KEY, key)
        # Before there is a key: without one no token is known.
        self.revoked.read()
        self.script_key = key
        for network in self._networks:
            try:
                self._store.networks.define(network)
            except GatewayError as error:
                log.error("--networks and --catalogue: %s", error)

    def sign(self, cluster: Cluster, seconds: float) -> str:
        """Returns a token for the scripts of a cluster. Only who leads runs any."""
        if self.script_key is None:
            self.begin()
        assert self.script_key is not None
        return script_token(cluster.key, self.script_key, seconds)


def build_clusters(
    options: Options,
    service: SchedulerService | Replica,
    store: Store,
    workers: WorkerProcesses,
    policy: Policy,
    metrics: Metrics,
    stack: contextlib.ExitStack,
) -> tuple[ClusterParts, DataProcessing, Term]:
    """Starts the engine of clusters; ``stack`` ends it. Raises GatewayErrors for what does not start."""
    offers = read_catalogue(options.catalogue) if options.catalogue else Offers()
    term = Term(store, service, networks_of(options.networks, offers))
    store.fence = term.epoch
    fleet = SchedulerFleet(service)
    disks = Disks(store, service)
    rules = Rules(policy, options.default_image)
    registry = KeyValues(store)
    stack.callback(registry.close)
    remote = Remote(service)
    stack.callback(remote.close)
    provider = _product_provider(options, store, term, registry, stack)
    # Whoever sets the machine's clock ends neither leases nor launches.
    clock = Clock()
    calls = PluginCalls()
    plugins = loader.load(calls=calls)
    channels = Channels(remote.run, _secret_of(store), options.default_image)
    engine = Engine(
        store,
        fleet,
        {"product": provider, "plugin": PluginProvider(plugins, channels, _secret_of(store))},
        rules,
        clock.now,
        cluster_name=options.cluster_name,
        limits=_limits(options),
        term=partial(_lead, term, disks),
        write_hosts=_hosts_writer(remote, rules),
    )
    clusters = Clusters(store, engine, fleet, rules, options.cluster_name, clock.now)
    engine.start()
    stack.callback(engine.stop)
    metrics.gauges(partial(_gauges, engine))
    renderer = Renderer(workers)
    parts = ClusterParts(
        store=store,
        catalogue=Catalogue(store, renderer),
        launcher=Launcher(store, renderer, clusters),
        service=clusters,
        disks=disks,
        remote=remote,
        registry=registry,
    )
    catalogue = StoredCatalogue(
        store,
        offers,
        default_image(options.default_image),
        Keypairs(store, clock.now),
        clock.now,
    )
    data = data_processing(store, clusters, plugins, catalogue, clock.now, calls)
    verifier = Verifier(store, plugins, channels, calls, lambda: term.epoch() or None, clock.now)
    verifier.start()
    stack.callback(verifier.stop)
    return parts, data, term


def _gauges(engine: Engine) -> dict[str, tuple[str, float]]:
    return {
        f"clusters_{phase}": (f"Clusters that are {phase}", count)
        for phase, count in engine.counts.items()
    }


def _limits(options: Options) -> Limits:
    return Limits(
        place_secs=options.cluster_timeout,
        history_secs=options.cluster_history,
        history_size=options.cluster_history_size,
    )


def _product_provider(
    options: Options, store: Store, term: Term, registry: KeyValues, stack: contextlib.ExitStack
) -> ProductProvider:
    """Returns what runs the scripts of products; says in the log if they cannot be kept apart."""
    isolator = Isolator(options.orchestrator_isolation, options.orchestrator_uids)
    runner = ScriptRunner(isolator, _script_directory(stack))
    if (problem := runner.problem()) is not None:
        log.warning("%s", problem)
    return ProductProvider(
        store,
        runner,
        _addresses(options),
        term.sign,
        mirror=_mirror(options, store, term, registry, stack),
        timeout=options.orchestrator_timeout,
    )


def networks_of(path: Path | None, offers: Offers) -> Sequence[Network]:
    """Returns the networks of both files, ``path`` being that of ``--networks``; raises :class:`Invalid`
    for one that stands in both, and for two that have addresses in common."""
    networks = read_networks(path) if path else ()
    names = {network.name for network in networks}
    for network in offers.networks:
        if network.name in names:
            raise Invalid(f"the network {network.name} stands in --networks and in --catalogue")
    found = (*networks, *offers.networks)
    for number, network in enumerate(found):
        try:
            check_apart(network, found[:number])
        except Conflict as error:
            raise Invalid(f"--networks and --catalogue: {error}") from None
    return found


def _secret_of(store: Store) -> Callable[[str], str | None]:
    """Returns what gives the secret of a cluster's SSH keys, by the cluster's id."""
    return lambda cluster_id: store.secrets.get(cluster_id, keys.SECRET)


def _lead(term: Term, disks: Disks) -> int | None:
    """What the engine asks at each turn: whether this process leads, and in which epoch."""
    epoch = term()
    if epoch is not None:
        disks.say_again()
    return epoch


def _script_directory(stack: contextlib.ExitStack) -> Path:
    """Returns the directory below which scripts run, each in its own; it goes with the gateway."""
    path = Path(tempfile.mkdtemp(prefix="mesos-gateway-scripts-"))
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    # Their users pass through it, and see nothing.
    path.chmod(0o711)
    return path


def _mirror(
    options: Options, store: Store, term: Term, registry: KeyValues, stack: contextlib.ExitStack
) -> ConsulMirror | None:
    if options.registry == "internal":
        return None
    mirror = ConsulMirror(consul_url(options.registry), store, registry, lambda: term.epoch() or None)
    stack.callback(mirror.close)
    return mirror


def _hosts_writer(remote: Remote, rules: Rules) -> HostsWriter:
    """Returns what writes the names of a cluster into a node that runs: into its container, or beside
    its processes, which share their agent's /etc/hosts with everybody."""

    def write(node: NodeRecord, text: str) -> None:
        if node.task_id is None:
            raise Unavailable(f"node {node.name} does not run")
        contained = bool(node.spec.image or rules.default_image)
        argv = ("sh", "-c", 'cat > "$1"', "sh", "/etc/hosts" if contained else "hosts")
        user = "0" if contained else None
        done = remote.run(node.task_id, argv, text.encode(), _HOSTS_SECS, user)
        if done.code:
            said = done.stderr.decode(errors="replace").strip()
            raise Unavailable(f"the names cannot be written in node {node.name}: {said}")

    return write


def _addresses(options: Options) -> Callable[[], Addresses]:
    """Where scripts, which run on this machine, find this server."""
    scheme = "https" if options.tls_cert is not None else "http"
    host = options.address
    if host != "localhost" and ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    url = f"{scheme}://{Address(host, options.port)}"
    # Read each time: certificates are renewed while the server runs.
    return lambda: Addresses(url, f"{url}/v1/kv", _certificate(options))


def _certificate(options: Options) -> str:
    return "" if options.tls_cert is None else options.tls_cert.read_text(encoding="utf-8")
