"""The module ``registry``, as scripts have it: against our own endpoint, into nodes, over SSH."""

from __future__ import annotations

import datetime
import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
import tornado.web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.auth.identity import Identity
from gateway.clusters import keys
from gateway.clusters.kv import KeyValues
from gateway.scripting import registry
from gateway.store import Store
from tests.gateway.products.registry_server import serving
from tests.gateway.products.samples import cluster, node
from tests.gateway.ssh_server import ssh_serving

DN = "clusters/joe/reference/1.0.0/1"
SECRET = "ab" * 32


class ExecHandler(tornado.web.RequestHandler):
    """Runs the command here, as the gateway has it run in a node."""

    async def post(self, dn: str, name: str) -> None:
        if self.request.headers.get("X-Auth-Token") != DN or dn != DN:
            self.set_status(403)
            self.finish({"message": "not a node of yours"})
            return
        ask = json.loads(self.request.body)
        done = subprocess.run(
            ask["argv"],
            input=ask.get("stdin", ""),
            text=True,
            capture_output=True,
            timeout=ask["timeout"],
            check=False,
            env={"NODE": name, "PATH": os.environ["PATH"]},
        )
        self.finish({"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr})


EXEC_ROUTE = (r"/bigdata/api/v1/(.+)/nodes/([^/]+)/exec", ExecHandler)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store("sqlite://")
    store.clusters.create(cluster(1))
    store.clusters.create(cluster(2))
    yield store
    store.close()


@pytest.fixture(scope="module")
def gateway(store: Store) -> Iterator[str]:
    values = KeyValues(store)
    with serving(values, {DN: Identity(user=DN, cluster=DN)}, [EXEC_ROUTE]) as url:
        yield url


@pytest.fixture
def mine(gateway: str, monkeypatch: pytest.MonkeyPatch) -> registry.Cluster:
    monkeypatch.setenv("REGISTRY", f"{gateway}/v1/kv")
    monkeypatch.setenv("GATEWAY_URL", gateway)
    monkeypatch.setenv("CLUSTER_TOKEN", DN)
    monkeypatch.setenv("CLUSTERDN", DN)
    registry.connect()
    return registry.get_cluster()


def test_a_cluster_is_read(mine: registry.Cluster) -> None:
    assert (mine.dn, str(mine), mine.status, mine.dnsname) == (DN, DN, "ready", "clusters--joe")
    assert [n.name for n in mine.nodes] == ["slave0", "slave1", "slave10"]
    assert [s.name for s in mine.services] == ["slurm"]
    assert mine == registry.Cluster(DN) == registry.get_cluster("joe", "reference", "1.0.0", 1)
    assert registry.get_cluster(dn=f"/instances/{DN.partition('/')[2]}").dnsname == "clusters--joe"


def test_a_node_is_read(mine: registry.Cluster) -> None:
    slave = mine.nodes[1]
    assert (slave.status, slave.host, slave.cpu, slave.mem) == ("running", "agent1", "0.5", "64")
    assert slave.tags == ["yarn", "worker"]
    assert slave.cluster == mine
    assert [(d.name, d.origin, d.destination, d.mode) for d in slave.disks] == [
        ("disk1", "disk7", "/data/1", "rw"),
        ("disk2", "disk9", "/data/2", "ro"),
        ("host1", "/sys/fs/cgroup", "/sys/fs/cgroup", "ro"),
    ]
    first, second = slave.networks
    assert (first.name, first.networkname, first.address) == ("eth0", "storage", "10.1.0.2")
    assert (first.netmask, first.gateway, second.address) == ("16", "10.1.255.1", "10.2.0.2")
    assert [s.name for s in slave.services] == ["slurm"]
    assert (slave.rack, slave.get("rack"), slave.get("nothing", "else")) == ("r1", "r1", "else")
    with pytest.raises(registry.KeyDoesNotExist, match="nothing"):
        _ = slave.nothing
    assert not hasattr(slave, "nothing")


def test_a_service_is_read_and_written(mine: registry.Cluster, store: Store) -> None:
    slurm = mine.service("slurm")
    assert [n.name for n in slurm.nodes] == ["slave0", "slave1"]
    assert (slurm.heap, slurm.get("dfs.size"), slurm.get("none")) == ("512", "1m", None)
    slurm.heap = 1024
    slurm.set("dfs.size", "2m")
    slurm.status = "up"
    slurm.nodes = [mine.node("slave1"), "slave10"]
    record = store.clusters.by_key(DN).services[0]
    assert (record.status, record.nodes) == ("up", ("slave1", "slave10"))
    assert record.properties == {"heap": "1024", "dfs.size": "2m"}


def test_statuses_are_written_through(mine: registry.Cluster, store: Store) -> None:
    mine.status = "running"
    mine.nodes[0].status = "joined"
    mine.master = "slave0"
    record = store.clusters.by_key(DN)
    assert (record.said, record.nodes[0].said, mine.master) == ("running", "joined", "slave0")


def test_another_cluster_is_not_for_this_script(mine: registry.Cluster) -> None:
    other = registry.get_cluster("joe", "reference", "1.0.0", 2)
    with pytest.raises(registry.RegistryError, match="403"):
        _ = other.status
    with pytest.raises(registry.RegistryError, match="403"):
        other.status = "mine"
    with pytest.raises(registry.RegistryError, match="not a node of yours"):
        other.node("slave0").run("true")


def test_ids_and_names() -> None:
    assert registry.id_from(DN) == "clusters--joe--reference--1__0__0--1"
    assert registry.dn_from(registry.id_from(DN)) == DN


def test_commands_run_in_a_node(mine: registry.Cluster, tmp_path: Path) -> None:
    slave = mine.node("slave1")
    code, out, err = slave.run('echo "$NODE"; cat; exit 3', input="in", check=False)
    assert (code, out, err) == (3, "slave1\nin", "")
    assert slave.run(["echo", "a b"], timeout=10) == (0, "a b\n", "")
    with pytest.raises(registry.CommandFailed, match=r"status 1 in .*slave1: oops"):
        slave.run("echo oops >&2; false")
    path = tmp_path / "a dir" / "it's"
    slave.put(str(path), "text\n", mode=0o600)
    assert path.read_text() == "text\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert shlex.quote(str(path)) != str(path)


def test_a_registry_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    refused = threading.Event()

    def pause(seconds: float) -> None:
        refused.set()
        time.sleep(seconds)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pause)
    monkeypatch.setattr(registry, "time", clock)
    # Bound, so that nobody else gets the port; nobody listens there before it has been asked in vain.
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        late.settimeout(60)
        url = f"http://127.0.0.1:{late.getsockname()[1]}/v1/kv"
        client = registry.KeyValueStore(url, None, patience=60.0)
        thread = threading.Thread(target=lambda: found.append(client.get("a")))
        thread.start()
        assert refused.wait(60)
        late.listen()
        peer, _ = late.accept()
        with peer:
            peer.recv(4096)
            body = b'[{"Key": "a", "Value": "eA=="}]'
            peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    thread.join(60)
    assert found == ["x"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        # The server has died in the middle of it.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n[", "IncompleteRead"),
        # What listens there is no Consul.
        (b"220 mail.example ESMTP\r\n\r\n", "220 mail.example"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no registry's answer: b'<html>'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", "no registry's answer: b'null'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", "no registry's answer: b'\\[1\\]'"),
    ],
)
@pytest.mark.parametrize("method", ["get", "tree", "names"])
def test_what_is_no_answer_is_said(method: str, answer: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/kv"
        with pytest.raises(registry.RegistryError, match=words):
            getattr(registry.KeyValueStore(url, None, patience=0.0), method)("a")
        thread.join(60)


def test_waiting_for_something() -> None:
    values = iter([0, None, "done"])
    assert registry.wait_for(lambda: next(values), pause=0.001) == "done"
    with pytest.raises(TimeoutError, match="the quorum has not come to pass"):
        registry.wait_for(lambda: False, timeout=0.01, pause=0.001, what="the quorum")


def test_it_needs_nothing_but_the_standard_library() -> None:
    directory = str(Path(registry.__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {directory!r})\nimport registry as r; print(r.id_from('a/b.c'))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a--b__c\n"


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Returns a certificate for a name that the server does not have, signed by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def test_a_script_trusts_the_certificate_of_its_gateway_and_no_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = certificate(tmp_path, "gateway.example")
    other, _ = certificate(tmp_path, "other.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    values = KeyValues(store)
    with serving(values, {DN: Identity(user=DN, cluster=DN)}, tls=context) as url:
        client = registry.KeyValueStore(f"{url}/v1/kv", DN)
        monkeypatch.setenv("GATEWAY_CERTIFICATE", str(chain))
        assert client.get(f"{DN}/name") == "1"
        monkeypatch.setenv("GATEWAY_CERTIFICATE", str(other))
        with pytest.raises(registry.RegistryError, match=r"(?i)certificate verify failed"):
            client.get(f"{DN}/name")
    values.close()


# -- over SSH --


@pytest.fixture
def ssh_server(request: pytest.FixtureRequest) -> Iterator[int]:
    """An SSH server with the files of a node (parameter: the id of the node it is)."""
    files = {f.path: f.text for f in keys.node_files(SECRET, node(0))}
    host = keys.host_key(SECRET, request.param)
    with ssh_serving(host.private, files["/root/.ssh/authorized_keys"]) as port:
        yield port


def connection_to(mine: registry.Cluster, port: int, tmp_path: Path, monkeypatch: Any) -> Any:
    record = node(0)
    known = keys.known_hosts(SECRET, [record]).replace("slave0,10.1.0.1,10.2.0.1", f"[127.0.0.1]:{port}")
    for name, text in {"SSH_KEY": keys.user_key(SECRET).private, "SSH_KNOWN_HOSTS": known}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(registry.Node, "_reachable", lambda self: "127.0.0.1")
    return mine.node("slave0").connection(port=port)


@pytest.mark.parametrize("ssh_server", ["node-id-0"], indirect=True)
def test_a_node_is_reached_with_the_clusters_key(
    mine: registry.Cluster, ssh_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection_to(mine, ssh_server, tmp_path, monkeypatch) as connection:
        assert connection.run("echo over ssh", hide=True, in_stream=False).stdout == "over ssh\n"


@pytest.mark.parametrize("ssh_server", ["somebody-else"], indirect=True)
def test_a_server_with_another_key_is_not_talked_to(
    mine: registry.Cluster, ssh_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connection_to(mine, ssh_server, tmp_path, monkeypatch)
    with pytest.raises(paramiko.BadHostKeyException):
        connection.run("true", hide=True, in_stream=False)
    connection.close()
