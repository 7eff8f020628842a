"""The provider of products: which script runs when, what it is told, what becomes of its output."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from framework.model.errors import Invalid
from gateway.auth.identity import Identity
from gateway.clusters import keys
from gateway.clusters.isolation import Isolator
from gateway.clusters.kv import KeyValues
from gateway.clusters.mirror import ConsulMirror, consul_url
from gateway.clusters.model import Cluster, Operation, Phase
from gateway.clusters.orchestration import OUTPUT_KEYS, Addresses, ProductProvider, failure_of
from gateway.clusters.products import Product
from gateway.clusters.provider import StepFailed
from gateway.clusters.scripts import RunResult, ScriptRunner
from gateway.store import Store
from tests.framework.mesos.peer import eventually
from tests.gateway.products.registry_server import serving
from tests.gateway.products.samples import cluster, node
from tests.gateway.products.test_registry import EXEC_ROUTE

DN = "clusters/joe/reference/1.0.0/1"
SCRIPT = """
import os
import sys

import registry
from fabric import task

cluster = registry.get_cluster()


@task
def start(c):
    for node in cluster.nodes:
        print(node.run("echo configured $NODE").stdout.strip())
        node.status = "configured"
    cluster.status = "running"
    print("with warnings", file=sys.stderr)
    print(sorted(name for name in os.listdir(".") if name.endswith(("25519", "hosts"))))


@task
def status(c):
    print(cluster.status)


@task
def stop(c):
    raise SystemExit("nothing can be stopped")


@task
def shrink(c):
    print("without", os.environ["REMOVED_NODES"])


@task
def hang(c):
    import time
    print("waiting", flush=True)
    time.sleep(1000)
"""


class Context:
    """What the engine gives to a step."""

    def __init__(self, store: Store, cluster_id: str) -> None:
        self._store, self._id = store, cluster_id
        self.told: list[tuple[str, str]] = []
        self.is_cancelled: Callable[[], bool] = lambda: False

    def tell(self, text: str, *, stream: str = "", node: str = "", ok: bool | None = None) -> None:
        self.told.append((stream, text))

    def cancelled(self) -> bool:
        return self.is_cancelled()

    def reload(self) -> Cluster:
        return self._store.clusters.get(self._id)

    def save(self, change: Callable[[Cluster], Cluster]) -> Cluster:
        return self._store.clusters.change(self._id, change)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store("sqlite://")
    store.products.add(Product("reference", "1.0.0", orchestrator=SCRIPT))
    store.clusters.create(cluster(1))
    yield store
    store.close()


@pytest.fixture
def values(store: Store) -> Iterator[KeyValues]:
    values = KeyValues(store)
    yield values
    values.close()


@pytest.fixture
def gateway(values: KeyValues) -> Iterator[str]:
    with serving(values, {DN: Identity(user=DN, cluster=DN)}, [EXEC_ROUTE]) as url:
        yield url


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="scripts-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def provider(store: Store, gateway: str, base: Path, **more: Any) -> ProductProvider:
    addresses = Addresses(gateway, f"{gateway}/v1/kv")
    runner = ScriptRunner(Isolator(), base)
    return ProductProvider(store, runner, lambda: addresses, lambda c, _: c.key, **more)


def perform(given: ProductProvider, store: Store, moment: Any, **operation: Any) -> Context:
    """Does the steps of a moment as the engine does."""
    if operation:
        running = Operation("run", "o", 0.0, **operation)
        store.clusters.change("id-joe-1", lambda c: msgspec.structs.replace(c, operation=running))
    context = Context(store, "id-joe-1")
    for step in given.steps(context.reload(), moment):
        step.run(context.reload(), context)
    return context


def output_of(store: Store, record: Cluster) -> dict[str, str]:
    """What the last run of the cluster's script has put out, by :data:`OUTPUT_KEYS`."""
    found = {key: store.kv.get(f"{record.key}/{key}") for key in OUTPUT_KEYS}
    return {key: entry.value.decode() for key, entry in found.items() if entry is not None}


def test_a_script_configures_its_cluster(store: Store, gateway: str, base: Path) -> None:
    given = provider(store, gateway, base)
    perform(given, store, "planned")
    context = perform(given, store, "placed")
    record = store.clusters.by_key(DN)
    assert record.said == "running"
    assert {n.said for n in record.nodes} == {"configured"}
    lines = [text for stream, text in context.told if stream == "stdout"]
    assert lines[:3] == ["configured slave0", "configured slave1", "configured slave10"]
    assert lines[3] == "['id_ed25519', 'known_hosts']"
    assert ("stderr", "with warnings") in context.told
    output = output_of(store, record)
    assert output["orchestrator_stdout"].splitlines() == lines
    assert output["orchestrator_stderr"] == "with warnings\n"
    assert perform(given, store, "run", verb="status").told == [("stdout", "running")]
    assert perform(given, store, "shrinking", removed=("slave10",)).told == [
        ("stdout", "without slave10")
    ]


def test_keys_are_made_once_and_lie_in_the_nodes(store: Store, gateway: str, base: Path) -> None:
    given = provider(store, gateway, base)
    assert given.files(cluster(1), node(0)) == ()
    perform(given, store, "planned")
    secret = store.secrets.get("id-joe-1", keys.SECRET)
    perform(given, store, "planned")
    assert secret == store.secrets.get("id-joe-1", keys.SECRET)
    assert secret is not None
    assert given.files(cluster(1), node(0))[0].path == "/root/.ssh/authorized_keys"


def test_a_script_that_fails_says_why(store: Store, gateway: str, base: Path) -> None:
    given = provider(store, gateway, base)
    with pytest.raises(StepFailed, match="stop ended with status 1: nothing can be stopped"):
        perform(given, store, "run", verb="stop")
    with pytest.raises(StepFailed, match="has no task restart"):
        perform(given, store, "run", verb="restart")
    assert "no task restart" in output_of(store, store.clusters.by_key(DN))["orchestrator_stderr"]


def test_a_script_that_hangs_is_ended(store: Store, gateway: str, base: Path) -> None:
    with pytest.raises(StepFailed, match="hang took longer than 8 seconds"):
        perform(provider(store, gateway, base, timeout=8.0), store, "run", verb="hang")


def test_a_script_that_nobody_waits_for_is_ended(store: Store, gateway: str, base: Path) -> None:
    given = provider(store, gateway, base)
    running = Operation("run", "o", 0.0, verb="hang")
    store.clusters.change("id-joe-1", lambda c: msgspec.structs.replace(c, operation=running))
    context = Context(store, "id-joe-1")
    context.is_cancelled = lambda: ("stdout", "waiting") in context.told
    (step,) = given.steps(context.reload(), "run")
    with pytest.raises(StepFailed, match="not wanted any more"):
        step.run(context.reload(), context)


def steps_of(store: Store, script: str, moment: Any, **fields: Any) -> list[str]:
    product = msgspec.structs.replace(store.products.get("reference", "1.0.0"), orchestrator=script)
    store.products.update(product)
    given = ProductProvider(
        store, ScriptRunner(Isolator()), lambda: Addresses("", ""), lambda c, _: c.key
    )
    return [step.name for step in given.steps(cluster(1, **fields), moment)]


def test_which_script_runs_when(store: Store) -> None:
    plain = "def start(): pass\n"
    full = "".join(f"def {verb}(): pass\n" for verb in ("start", "resize", "shrink", "stop"))
    started: Any = {"extra": {"orchestrated": True}}
    assert steps_of(store, plain, "placed") == ["orchestrator start"]
    assert steps_of(store, plain, "resized") == ["orchestrator start"]
    assert steps_of(store, full, "resized") == ["orchestrator resize"]
    assert steps_of(store, plain, "shrinking") == []
    assert steps_of(store, full, "shrinking") == ["orchestrator shrink"]
    assert steps_of(store, full, "deleting") == []
    assert steps_of(store, plain, "deleting", **started) == []
    assert steps_of(store, full, "deleting", **started) == ["orchestrator stop"]
    assert steps_of(store, full, "deleting", nodes=(), **started) == []
    assert steps_of(store, "", "placed") == []
    assert steps_of(store, full, "planned") == ["make keys"]


def test_where_scripts_cannot_run_nothing_is_placed(
    store: Store, gateway: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptRunner, "problem", lambda self: "scripts cannot be kept apart here")
    with pytest.raises(StepFailed, match="kept apart"):
        perform(provider(store, gateway, base), store, "planned")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (RunResult(0, "itself", "", "warnings"), None),
        (RunResult(137, "itself", "", ""), "the orchestrator's start ended with signal 9"),
        (
            RunResult(2, "itself", "", "a\nb: c\n\n"),
            "the orchestrator's start ended with status 2: b: c",
        ),
        # What ssh ends with when it cannot connect is no signal.
        (RunResult(255, "itself", "", ""), "the orchestrator's start ended with status 255"),
        (RunResult(64, "itself", "", "usage"), "the orchestrator's start ended with status 64: usage"),
    ],
)
def test_how_a_run_has_failed(result: RunResult, said: str | None) -> None:
    assert failure_of(result, "start", 10) == said


# -- a Consul instead --


@pytest.fixture
def consul() -> Iterator[tuple[str, KeyValues]]:
    """Another instance of our own endpoint, where the keys of clusters are nothing but keys."""
    other = Store("sqlite://")
    values = KeyValues(other)
    with serving(_Plain(values)) as url:  # type: ignore[arg-type]
        yield url, values
    values.close()
    other.close()


class _Plain:
    """Stores every key as it is."""

    def __init__(self, values: KeyValues) -> None:
        self._values = values

    def get(self, reader: Any, key: str) -> Any:
        return self._values.get(reader, f"x/{key}")

    def list(self, reader: Any, key: str) -> Any:
        found = self._values.list(reader, f"x/{key}")
        entries = [msgspec.structs.replace(e, key=e.key.removeprefix("x/")) for e in found.entries]
        return msgspec.structs.replace(found, entries=entries)

    def keys(self, reader: Any, key: str, separator: str = "") -> Any:
        names, index = self._values.keys(reader, f"x/{key}", separator)
        return [name.removeprefix("x/") for name in names], index

    def put(self, reader: Any, key: str, value: bytes, *, cas: int | None = None) -> bool:
        return self._values.put(reader, f"x/{key}", value, cas=cas)

    def delete(self, reader: Any, key: str, *, recurse: bool = False) -> bool:
        return self._values.delete(reader, f"x/{key}", recurse=recurse)


def leads() -> int:
    return 1


def kept(values: KeyValues, key: str) -> str | None:
    entry = values._store.kv.get(f"x/{key}")
    return None if entry is None else entry.value.decode()


def test_a_consul_of_the_operators_is_used_instead(
    store: Store, values: KeyValues, gateway: str, base: Path, consul: tuple[str, KeyValues]
) -> None:
    url, there = consul
    mirror = ConsulMirror(f"{url}/v1/kv", store, values, leads)
    try:
        given = provider(store, gateway, base, mirror=mirror)
        perform(given, store, "planned")
        perform(given, store, "placed")
        record = store.clusters.by_key(DN)
        assert record.said == "running"
        assert {n.said for n in record.nodes} == {"configured"}
        assert kept(there, f"{DN}/nodes/slave0/host") == "agent0"
        assert kept(there, f"{DN}/nodes/slave0/status") == "configured"
        # What changes afterwards is seen there, too.
        store.clusters.change(
            record.cluster_id,
            lambda c: msgspec.structs.replace(c, nodes=c.nodes[:2], phase=Phase.DELETED),
        )
        eventually(lambda: kept(there, f"{DN}/status") == "destroyed", 60)
        eventually(lambda: kept(there, f"{DN}/nodes/slave10/host") is None, 60)
        store.clusters.forget(record.cluster_id)
        eventually(lambda: not there._store.kv.list(f"x/{DN}"), 60)
    finally:
        mirror.close()


@pytest.fixture
def nobody() -> Iterator[tuple[int, socket.socket]]:
    """A port that nobody listens on, and nobody else gets while the socket is open."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1], held


def ended(store: Store) -> str:
    record = store.clusters.by_key(DN)
    store.clusters.change(
        record.cluster_id, lambda c: msgspec.structs.replace(c, nodes=(), phase=Phase.DELETED)
    )
    return record.cluster_id


def test_a_consul_that_was_away_knows_what_has_happened_meanwhile(
    store: Store, values: KeyValues, nobody: tuple[int, socket.socket]
) -> None:
    port, held = nobody
    other = Store("sqlite://")
    there = KeyValues(other)
    mirror = ConsulMirror(f"http://127.0.0.1:{port}/v1/kv", store, values, leads, again_secs=0.2)
    try:
        ended(store)
        with serving(_Plain(there), bound=held) as _:  # type: ignore[arg-type]
            eventually(lambda: kept(there, f"{DN}/status") == "destroyed", 60)
    finally:
        mirror.close()
        there.close()
        other.close()


def test_a_consul_that_dies_in_the_middle_of_an_answer_is_told_again(
    store: Store, values: KeyValues, nobody: tuple[int, socket.socket]
) -> None:
    port, held = nobody
    held.listen()
    held.settimeout(60)
    other = Store("sqlite://")
    there = KeyValues(other)
    mirror = ConsulMirror(f"http://127.0.0.1:{port}/v1/kv", store, values, leads, again_secs=0.2)
    try:
        ended(store)
        peer, _ = held.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[")
        with serving(_Plain(there), bound=held) as _:  # type: ignore[arg-type]
            eventually(lambda: kept(there, f"{DN}/status") == "destroyed", 60)
    finally:
        mirror.close()
        there.close()
        other.close()


def test_a_consul_is_told_later_what_happened_at_the_gateways_end(
    store: Store, values: KeyValues, consul: tuple[str, KeyValues], nobody: tuple[int, socket.socket]
) -> None:
    url, there = consul
    for number in (2, 3):
        store.clusters.create(cluster(number))
    standing = [f"clusters/joe/reference/1.0.0/{number}" for number in (1, 2, 3)]
    first = ConsulMirror(f"{url}/v1/kv", store, values, leads)
    eventually(lambda: len(store.objects.find("mirrored-cluster")) == 3, 60)
    first.close()
    assert [kept(there, f"{key}/status") for key in standing] == ["ready"] * 3
    # Of what a script has written there, nothing has been taken over as yet.
    there.put(Identity(user=None), f"x/{standing[2]}/status", b"as the script says")
    # One that reaches nobody, and ends.
    second = ConsulMirror(f"http://127.0.0.1:{nobody[0]}/v1/kv", store, values, leads)
    ended(store)
    store.clusters.forget("id-joe-2")
    second.close()
    third = ConsulMirror(f"{url}/v1/kv", store, values, leads)
    try:
        eventually(lambda: kept(there, f"{standing[0]}/status") == "destroyed", 60)
        eventually(lambda: len(store.objects.find("mirrored-cluster")) == 2, 60)
        assert kept(there, f"{standing[1]}/status") is None
        # What has not changed is not written again.
        assert kept(there, f"{standing[2]}/status") == "as the script says"
    finally:
        third.close()


def test_who_does_not_lead_writes_nothing(
    store: Store, values: KeyValues, consul: tuple[str, KeyValues]
) -> None:
    url, there = consul
    term: list[int | None] = [None]
    glances: list[int] = []

    def glance() -> int | None:
        glances.append(1)
        return term[0]

    mirror = ConsulMirror(f"{url}/v1/kv", store, values, glance)
    try:
        ended(store)
        eventually(lambda: len(glances) > 2, 60)
        assert kept(there, f"{DN}/status") is None
        term[0] = 1
        eventually(lambda: kept(there, f"{DN}/status") == "destroyed", 60)
    finally:
        mirror.close()


def test_a_consul_is_told_what_another_leader_has_told_otherwise(
    store: Store, values: KeyValues, consul: tuple[str, KeyValues]
) -> None:
    url, there = consul
    terms: dict[str, int | None] = {"one": 1, "other": None}

    def says(reason: str) -> None:
        store.clusters.change("id-joe-1", lambda c: msgspec.structs.replace(c, reason=reason))
        eventually(lambda: kept(there, f"{DN}/reason") == reason, 60)

    one = ConsulMirror(f"{url}/v1/kv", store, values, lambda: terms["one"])
    other = ConsulMirror(f"{url}/v1/kv", store, values, lambda: terms["other"])
    try:
        says("as at first")
        terms.update(one=None, other=2)
        says("otherwise")
        terms.update(one=3, other=None)
        says("as at first")
    finally:
        one.close()
        other.close()


def test_a_consul_that_is_away_does_not_keep_the_gateway_from_its_end(
    store: Store, values: KeyValues, nobody: tuple[int, socket.socket]
) -> None:
    mirror = ConsulMirror(f"http://127.0.0.1:{nobody[0]}/v1/kv", store, values, leads)
    for number in range(2, 6):
        store.clusters.create(cluster(number))
    ended(store)
    end = threading.Thread(target=mirror.close, daemon=True)
    end.start()
    eventually(lambda: not end.is_alive(), 60)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("consul://c1:8501", "http://c1:8501/v1/kv"),
        ("consul://10.0.0.1", "http://10.0.0.1:8500/v1/kv"),
        ("consul://[::1]:80", "http://[::1]:80/v1/kv"),
    ],
)
def test_where_a_consul_is(text: str, url: str) -> None:
    assert consul_url(text) == url


@pytest.mark.parametrize("text", ["http://c1", "consul://", "consul://a:b", "consul://a/x"])
def test_what_is_no_consul(text: str) -> None:
    with pytest.raises(Invalid):
        consul_url(text)
