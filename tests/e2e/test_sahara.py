"""Data clusters over REST, in containers, on bin/quickstart: what the documentation shows, pasted.

Other than in the documentation are the server's address, the image of Spark (the tests' own), and
options that let JVMs start quickly.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.e2e.harness import ROOT, Client, Server, eventually
from tests.e2e.test_quickstart import quickstart
from tests.e2e.test_readme import DEFAULT, README
from tests.gateway.plugins.distributions import copy, install
from tests.images.build import image as image_of

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# What is quick to start, rather than quick later.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
OPTIONS = {
    "Worker memory": 512,
    "Master heap size": 256,
    "Worker heap size": 256,
    "Executor memory": 512,
    "Daemon Java options": QUICK,
    "Properties": f"""
        spark.ui.enabled false
        spark.driver.extraJavaOptions {QUICK}
        spark.executor.extraJavaOptions {QUICK}
        """,
    "Start timeout": 600,
}
TOTAL = sum(n * n for n in range(1000))
# JVMs start slowly where many others want the CPUs.
PATIENCE = 900.0
CLUSTERS = "/v1.1/demo/clusters"
SECTION = "A data cluster, with the clients of OpenStack"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, docker_daemon: None) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("quickstart")
    # A plugin that does something on its nodes, and needs no more than a shell for it.
    plugin = tmp_path_factory.mktemp("installed")
    install(plugin, copy(tmp_path_factory.mktemp("source")))
    running = quickstart(
        directory / "log", {"TMPDIR": str(directory), "PYTHONPATH": str(plugin)}, "--port=0"
    )
    try:
        assert running.lines[0].startswith("Runtime: Docker containers")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.address)


def blocks(text: str, heading: str, language: str) -> list[str]:
    """The blocks of a language in the section with this heading."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def environment() -> dict[str, str]:
    """Of somebody who has installed the clients, and nothing else."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "PYTHONWARN"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def paste(block: str, url: str) -> str:
    """Runs a block of shell in the project's directory; returns what it puts out."""
    assert DEFAULT in block
    run = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.replace(DEFAULT, url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def containers(cluster: str) -> list[str]:
    """The ids of the containers of a cluster of the project ``demo``."""
    return docker("ps", "-aq", "--filter", f"name=-demo-sahara-{cluster}-").split()


def node(name: str) -> str:
    """The id of a node's container."""
    return docker("ps", "-q", "--filter", f"label=mesos-gateway.node={name}").strip()


def docker(*words: str) -> str:
    run = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    # The logs of a container are on both.
    return run.stdout + run.stderr


def cluster_of(client: Client, name: str) -> dict[str, Any]:
    (found,) = [one for one in client.call("GET", CLUSTERS).json["clusters"] if one["name"] == name]
    return dict(found)


def settled(client: Client, name: str) -> dict[str, Any]:
    """The cluster when it is Active; fails for one that is an Error."""
    found = eventually(
        lambda: cluster_of(client, name), lambda now: now["status"] in ("Active", "Error"), PATIENCE
    )
    assert found["status"] == "Active", found
    return found


def verified(client: Client, name: str) -> dict[str, Any]:
    """The cluster's verification when it has ended."""

    def look() -> dict[str, Any]:
        return dict(cluster_of(client, name).get("verification", {}))

    return eventually(look, lambda now: now.get("status") not in (None, "CHECKING"), PATIENCE)


def workers(client: Client, name: str) -> set[str]:
    """The hosts of the workers that the master can use, asked from this host where ``info`` says."""
    url = cluster_of(client, name)["info"]["Apache Spark"]["Web UI"]
    with urllib.request.urlopen(f"{url}/json/", timeout=30) as answer:
        return {one["host"] for one in json.load(answer)["workers"] if one["state"] == "ALIVE"}


class Prompt:
    """Python at its prompt, into which lines are pasted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-i", "-q"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def paste(self, lines: str) -> list[str]:
        """Returns what the lines have put out when the last has been carried out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{lines}\nprint('<done>')\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line == "<done>\n":
                return said
            said.append(line.strip())
        raise AssertionError(f"Python has ended: {self._process.stderr and self._process.stderr.read()}")

    def end(self) -> str:
        """Returns what it has complained of."""
        return self._process.communicate(timeout=60)[1]


def spark_block(tmp_path: Path) -> str:
    """The README's commands with the tests' image and options; the image is not made once more."""
    (block,) = blocks(README, SECTION, "sh")
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"Spark": OPTIONS}))
    for pattern, ours in (
        (r"(?m)^\(cd gateway/plugins/spark/image && pip download .* && docker build -t spark \.\)$", ""),
        (r'"reference": "spark"', f'"reference": "{image_of("spark")}"'),
        (r"(?m)^(openstack dataprocessing cluster template create .*)$", rf"\1 --configs {options}"),
    ):
        block, found = re.subn(pattern, ours, block)
        assert found == 1, pattern
    return block


def test_the_readmes_spark_cluster_computes_grows_shrinks_and_goes(
    server: Server, client: Client, tmp_path: Path
) -> None:
    block, delete, rest = spark_block(tmp_path).partition("openstack dataprocessing cluster delete")
    said = paste(block, server.address)
    assert re.findall(r"(?m)^(?:\| Status +\| )?(Active|Error)\b", said)[-2:] == ["Active", "Active"]
    assert re.findall(r"(?m)^total .*$", said) == [
        f"total {TOTAL} computed on spark-slave-0 spark-slave-1",
        f"total {TOTAL} computed on spark-slave-0 spark-slave-1 spark-slave-2",
    ]
    assert workers(client, "spark") == {"spark-slave-0", "spark-slave-1", "spark-slave-2"}
    info = cluster_of(client, "spark")["info"]["Apache Spark"]
    assert info["Master"] == "spark://spark-master-0:7077"
    assert len(containers("spark")) == 4
    exports = "".join(line + "\n" for line in block.splitlines() if line.startswith("export "))
    assert "removed successfully" in paste(exports + delete + rest, server.address)
    eventually(lambda: containers("spark"), lambda left: not left)

    # The same from Python.
    (code,) = blocks(README, SECTION, "python")
    before, end, after = code.replace(DEFAULT, server.address).partition("sahara.clusters.delete(")
    prompt = Prompt()
    told = [line.split()[:2] for line in prompt.paste(before) if line.startswith("again ")]
    assert told == [["again", "Active"]] * 2
    assert workers(client, "again") == {"again-slave-1"}
    assert verified(client, "again")["status"] == "GREEN"
    assert docker("exec", node("again-master-0"), "cat", "/opt/spark/conf/workers") == "again-slave-1\n"
    prompt.paste(end + after)
    assert "Error" not in (complaints := prompt.end()), complaints
    eventually(lambda: containers("again"), lambda left: not left)
    eventually(lambda: client.call("GET", CLUSTERS).json["clusters"], lambda left: left == [])


def test_the_fake_cluster_of_the_documentation(server: Server) -> None:
    text = (ROOT / "docs" / "data-clusters.md").read_text(encoding="utf-8")
    (block,) = blocks(text, "A 3-node cluster", "sh")
    said = paste(block, server.address)
    assert re.findall(r"\| Status +\| (\w+)", said)[-1] == "Active"
    assert re.search(r"\| Node groups +\| fake-master:1, fake-worker:2", said)
    assert "removed successfully" in said
    eventually(lambda: containers("first"), lambda left: not left)


def test_a_cluster_for_which_there_is_no_room_says_so(client: Client) -> None:
    entry = {"name": "big", "reference": image_of("ssh"), "username": "root", "tags": ["fake", "0.1"]}
    image = posted(client, "PUT", "/resources/catalogue/v1/images/big", entry)
    group = {"name": "n", "count": 2, "flavor_id": "5", "node_processes": ["namenode"]}
    given = {**shells(client), "name": "big", "plugin_name": "fake", "hadoop_version": "0.1"}
    given |= {"default_image_id": image["id"], "node_groups": [group]}
    made = posted(client, "POST", CLUSTERS, given)["cluster"]
    path = f"{CLUSTERS}/{made['id']}"
    # All of it is known when the last agent has been looked at.
    full = r"2 of 2 instances wait; big-n-0: .*; mem: needs 4096 MiB, .* \(agents: 3\)$"
    eventually(
        lambda: client.call("GET", path).json["cluster"]["status_description"],
        lambda told: re.match(full, told) is not None,
    )
    assert cluster_of(client, "big")["status"] == "Spawning"
    assert client.call("DELETE", path).status == 204


# -- nodes that are logged in to -------------------------------------------------------------------


def test_nodes_that_are_reached_over_ssh(client: Client) -> None:
    """Made, verified, grown and logged in to by their user, of an image that the catalogue gives
    ``transport = "ssh"``."""
    asked = {"keypair": {"name": "mine"}}
    key = posted(client, "POST", "/compute/v2.1/os-keypairs", asked, token(client))["keypair"][
        "private_key"
    ]
    made = posted(client, "POST", CLUSTERS, {**shells(client), "user_keypair_id": "mine"})["cluster"]
    settled(client, "shells")
    # What the plugin has written on the desk is read, and fits.
    assert verified(client, "shells")["status"] == "GREEN"
    resized = {"resize_node_groups": [{"name": "back", "count": 2}]}
    posted(client, "PUT", f"{CLUSTERS}/{made['id']}", resized)
    groups = settled(client, "shells")["node_groups"]
    assert verified(client, "shells")["status"] == "GREEN"
    found = {one["instance_name"]: one["internal_ip"] for group in groups for one in group["instances"]}
    assert sorted(found) == ["shells-back-0", "shells-back-1", "shells-front-0"]
    for name, address in found.items():
        assert "Accepted publickey for ubuntu" in docker("logs", node(name))
        assert as_user(key, address, "hostname; cat notes/note") == f"{name}\nHello, {name}\n"
    names = as_user(key, found["shells-front-0"], "cat notes/readers; getent hosts shells-back-1")
    assert names.split() == ["shells-back-0", "shells-back-1", found["shells-back-1"], "shells-back-1"]
    client.call("DELETE", f"{CLUSTERS}/{made['id']}")
    eventually(lambda: containers("shells"), lambda left: not left)


def shells(client: Client) -> dict[str, Any]:
    """A cluster of the example of a plugin, in which it is reached over SSH."""
    entry = {"name": "ssh", "reference": image_of("ssh"), "username": "ubuntu", "tags": ["notes", "1.0"]}
    image = posted(client, "PUT", "/resources/catalogue/v1/images/ssh", {**entry, "transport": "ssh"})
    (network,) = client.call("GET", "/network/v2.0/networks?name=default").json["networks"]
    return {
        "name": "shells",
        "plugin_name": "notes",
        "hadoop_version": "1.0",
        "default_image_id": image["id"],
        "neutron_management_network": network["id"],
        "node_groups": [
            {"name": "front", "count": 1, "flavor_id": "2", "node_processes": ["desk"]},
            {"name": "back", "count": 1, "flavor_id": "2", "node_processes": ["reader"]},
        ],
    }


def token(client: Client) -> str:
    """A token for the project ``demo``."""
    user = {"name": "demo", "domain": {"id": "default"}, "password": "demo"}
    asked = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
    }
    body = json.dumps({"auth": asked}).encode()
    return str(client.call("POST", "/identity/v3/auth/tokens", body).headers["X-Subject-Token"])


def posted(client: Client, method: str, path: str, body: Any, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"X-Auth-Token": token} if token else {})
    answer = client.call(method, path, json.dumps(body).encode(), headers=headers)
    assert answer.status in (200, 201, 202), answer
    return answer.json


def as_user(private_key: str, address: str, command: str) -> str:
    """What a command puts out in a node that the user of a key pair logs in to."""
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(private_key))
    with paramiko.SSHClient() as ssh:
        ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        patient = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), 120.0)
        own = {"username": "ubuntu", "pkey": key, "allow_agent": False, "look_for_keys": False}
        ssh.connect(address, **own, **patient)
        _, out, _ = ssh.exec_command(command, timeout=60)
        return out.read().decode()
