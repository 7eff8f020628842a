"""The provider of products: their orchestrator script configures the nodes.

The script is called with ``start`` when the nodes run for the first time; for nodes that are added with
``resize`` if it defines that, else with ``start`` again; for nodes that are about to go with ``shrink``
and before a cluster is deleted with ``stop``, each if it defines them; and with what verb is asked for.
"""

from __future__ import annotations

import ast
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from executor.task import NodeFile
from framework.model.errors import GatewayError, NotFound
from gateway.clusters import keys
from gateway.clusters.model import Cluster, NodeRecord
from gateway.clusters.products import Product, kind_of_script
from gateway.clusters.provider import Moment, Step, StepContext, StepFailed
from gateway.clusters.rendering import cluster_id_of
from gateway.clusters.scripts import RunResult, Script, ScriptRunner, Stream
from gateway.scripting.run_fabfile import NO_SUCH_TASK
from gateway.store import Store

VERBS = ("start", "stop", "restart", "status")
# What a script has put out is kept as entries of the registry below the cluster's own key.
OUTPUT_KEYS = ("orchestrator_stdout", "orchestrator_stderr")
# A cluster that is to go does not wait longer than that for its own script.
_STOP_SECS = 120.0


class Mirror(Protocol):
    """Another registry that scripts read instead of ours; :mod:`gateway.clusters.mirror`."""

    url: str

    def push(self, cluster: Cluster) -> None: ...

    def pull(self, cluster: Cluster) -> None: ...


class Addresses(msgspec.Struct, frozen=True):
    """Where scripts find the gateway: ``gateway`` is its URL without a path, ``registry`` that of the
    key-value interface (``…/v1/kv``). ``certificate`` (PEM; "" without TLS) is the one that it shows:
    scripts trust this one, whoever has signed it and whatever its name is."""

    gateway: str
    registry: str
    certificate: str = ""


class ProductProvider:
    """``addresses`` is asked when a script starts; ``token`` signs one for a cluster, good for so many
    seconds; ``mirror`` None: scripts use the gateway's own registry."""

    def __init__(
        self,
        store: Store,
        runner: ScriptRunner,
        addresses: Callable[[], Addresses],
        token: Callable[[Cluster, float], str],
        *,
        mirror: Mirror | None = None,
        timeout: float = 1800.0,
    ) -> None:
        self._store = store
        self._runner = runner
        self._addresses = addresses
        self._token = token
        self._mirror = mirror
        self._timeout = timeout

    def steps(self, cluster: Cluster, moment: Moment) -> Sequence[Step]:
        """Returns the steps of a moment; see :class:`gateway.clusters.provider.Provider`."""
        if moment == "planned":
            return [Step("make keys", self._make_keys, timeout=60.0)]
        product = self._product(cluster)
        if product is None or not product.orchestrator:
            return []
        verb = _verb_of(cluster, moment, tasks_of(product.orchestrator))
        if verb is None:
            return []
        timeout = _STOP_SECS if moment == "deleting" else self._timeout
        return [self._step(product, verb, moment, timeout)]

    def files(self, cluster: Cluster, node: NodeRecord) -> Sequence[NodeFile]:
        """Returns the files that let the cluster's script into the node."""
        secret = self._store.secrets.get(cluster.cluster_id, keys.SECRET)
        return () if secret is None else keys.node_files(secret, node)

    def _product(self, cluster: Cluster) -> Product | None:
        try:
            return self._store.products.get(*cluster.product)
        except NotFound:
            return None

    def _make_keys(self, cluster: Cluster, context: StepContext) -> None:
        """Whoever has been interrupted here finds the secret that was made the first time."""
        problem = self._runner.problem()
        product = self._product(cluster)
        if problem is not None and product is not None and product.orchestrator:
            raise StepFailed(problem)
        with self._store.transaction():
            if self._store.secrets.get(cluster.cluster_id, keys.SECRET) is None:
                self._store.secrets.put(cluster.cluster_id, keys.SECRET, keys.new_secret())

    def _step(self, product: Product, verb: str, moment: Moment, timeout: float) -> Step:
        def run(cluster: Cluster, context: StepContext) -> None:
            self._run(product, verb, moment, timeout, context.reload(), context)

        # The time for ending the script comes on top of its own.
        return Step(f"orchestrator {verb}", run, timeout=timeout + 60.0)

    def _run(
        self,
        product: Product,
        verb: str,
        moment: Moment,
        timeout: float,
        cluster: Cluster,
        context: StepContext,
    ) -> None:
        def told(stream: Stream, line: str) -> None:
            context.tell(line, stream=stream)

        if self._mirror is not None:
            self._mirror.push(cluster)
        result = self._runner.run(
            self._script(product, cluster, timeout),
            verb,
            timeout=timeout,
            on_line=told,
            cancelled=context.cancelled,
        )
        self._keep(cluster, result)
        if self._mirror is not None and moment != "deleting":
            self._mirror.pull(cluster)
        failure = failure_of(result, verb, timeout)
        if failure is not None:
            raise StepFailed(failure)
        if moment == "placed":
            context.save(_orchestrated)

    def _script(self, product: Product, cluster: Cluster, timeout: float) -> Script:
        addresses = self._addresses()
        secret = self._store.secrets.get(cluster.cluster_id, keys.SECRET)
        registry = addresses.registry if self._mirror is None else self._mirror.url
        operation = cluster.operation
        environment = {
            "CLUSTERDN": cluster.key,
            "CLUSTERID": cluster_id_of(cluster.key),
            # What older scripts call it.
            "INSTANCE": cluster.key,
            "REGISTRY": registry,
            "GATEWAY_URL": addresses.gateway,
            "CLUSTER_TOKEN": self._token(cluster, timeout + 300.0),
            "ADDED_NODES": ",".join(operation.added) if operation else "",
            "REMOVED_NODES": ",".join(operation.removed) if operation else "",
        }
        files: list[tuple[str, str]] = []
        if addresses.certificate:
            files.append(("gateway.pem", addresses.certificate))
            environment["GATEWAY_CERTIFICATE"] = "{directory}/gateway.pem"
        if secret is not None:
            files += [
                ("id_ed25519", keys.user_key(secret).private),
                ("known_hosts", keys.known_hosts(secret, cluster.nodes)),
            ]
            environment["SSH_KEY"] = "{directory}/id_ed25519"
            environment["SSH_KNOWN_HOSTS"] = "{directory}/known_hosts"
        return Script(product.orchestrator, environment, files)

    def _keep(self, cluster: Cluster, result: RunResult) -> None:
        """Keeps the whole output; what comes after a mebibyte is counted."""
        note = f"\n… and {result.dropped} bytes more\n" if result.dropped else ""
        with self._store.transaction():
            for key, text in zip(OUTPUT_KEYS, (result.stdout, result.stderr), strict=True):
                self._store.kv.put(f"{cluster.key}/{key}", (text + note).encode())


def _orchestrated(cluster: Cluster) -> Cluster:
    """From now on there is something that the script can stop."""
    return msgspec.structs.replace(cluster, extra={**cluster.extra, "orchestrated": True})


def failure_of(result: RunResult, verb: str, timeout: float) -> str | None:
    """Returns why a run has not succeeded, None if it has. Pure."""
    if result.ended == "timeout":
        return f"the orchestrator's {verb} took longer than {timeout:g} seconds and was ended"
    if result.ended == "cancelled":
        return f"the orchestrator's {verb} was ended, because its result is not wanted any more"
    if result.code == 0:
        return None
    if result.code == NO_SUCH_TASK and "has no task" in result.stderr:
        return f"the orchestrator has no task {verb}"
    signalled = 128 < result.code < 128 + signal.NSIG
    how = f"signal {result.code - 128}" if signalled else f"status {result.code}"
    last = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "")
    return f"the orchestrator's {verb} ended with {how}" + (f": {last.strip()[:500]}" if last else "")


def tasks_of(script: str) -> frozenset[str] | None:
    """Returns the names of the functions of a fabfile; None for a program, which tells of none."""
    try:
        if kind_of_script(script) == "program":
            return None
        tree = ast.parse(script)
    except (GatewayError, SyntaxError, ValueError, RecursionError):
        return None
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _verb_of(cluster: Cluster, moment: Moment, tasks: frozenset[str] | None) -> str | None:
    """Returns what the script is called with; None: not at all."""
    known = tasks or frozenset()
    if moment == "placed":
        return "start"
    if moment == "resized":
        return "resize" if "resize" in known else "start"
    if moment == "shrinking":
        return "shrink" if "shrink" in known else None
    if moment == "deleting":
        running = any(node.host is not None for node in cluster.nodes)
        return "stop" if running and cluster.extra.get("orchestrated") and "stop" in known else None
    return cluster.operation.verb if cluster.operation and cluster.operation.verb else None
