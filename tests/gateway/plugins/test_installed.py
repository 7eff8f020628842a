"""A gateway as a process, with plugins installed beside it: one that works, others that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.dataprocessing.catalogue_file import id_of
from tests.e2e.harness import Server, eventually
from tests.gateway.plugins.distributions import copy, install, make
from tests.gateway.test_server import command, start

Json = dict[str, Any]
IMAGE, NETWORK = id_of("image", "default"), id_of("network", "default")
PATIENCE = 180.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    target = directory / "installed"
    install(
        target,
        copy(directory),
        make(directory, "broken", "raise RuntimeError('it was built for another Hadoop')"),
        make(directory, "half", "class NewPlugin:\n    def get_title(self): return 'Half'\n"),
        # The name of one that comes with the gateway is nobody else's.
        make(directory, "spark", "class NewPlugin: ..."),
    )
    own = (f"--state={directory / 'state.db'}", f"--local-work-dir={directory / 'mesos'}")
    made = start(
        ["env", f"PYTHONPATH={target}", *command("--local-agents=1", *own)],
        directory,
    )
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.address}/v1.1/t", timeout=60) as made:
        yield made


def ask(client: httpx.Client, method: str, path: str, body: Json | None = None, code: int = 200) -> Any:
    answer = client.request(method, path, json=body)
    assert answer.status_code == code, (method, path, answer.status_code, answer.text)
    return answer.json() if answer.content else None


def test_a_plugin_of_a_distribution_of_its_own_is_offered(client: httpx.Client) -> None:
    found = {one["name"]: one for one in ask(client, "GET", "/plugins")["plugins"]}
    assert set(found) == {"fake", "notes", "vanilla"}
    assert found["notes"]["versions"] == ["1.0"]
    shown = ask(client, "GET", "/plugins/notes/1.0")["plugin"]
    assert shown["required_image_tags"] == ["notes", "1.0"]
    assert set(shown["node_processes"]) == {"Notes"}
    assert "Greeting" in {one["name"] for one in shown["configs"]}


def test_plugins_that_are_broken_are_reported_and_not_offered(
    server: Server, client: httpx.Client
) -> None:
    log = server.log.read_text()
    for name, why in (
        (
            "broken",
            "loading mesos_gateway_broken:NewPlugin has failed: RuntimeError: it was",
        ),
        ("half", "mesos_gateway_half:NewPlugin lacks the required methods get_versions, "),
        ("spark", "two distributions offer it ("),
    ):
        assert f"the plugin {name} is not loaded: {why}" in log
        assert ask(client, "GET", f"/plugins/{name}", code=404)["error_name"] == "NOT_FOUND"
        group = {
            "name": "x",
            "plugin_name": name,
            "hadoop_version": "1.0",
            "flavor_id": "1",
            "node_processes": ["x"],
        }
        refused = ask(client, "POST", "/node-group-templates", group, code=400)
        assert refused["error_name"] == "INVALID_REFERENCE"
    # Where it was raised is the concern of the plugin's author, and of nobody else's.
    assert log.count("Traceback") == 1


def test_a_cluster_of_it_is_made_over_http(client: httpx.Client) -> None:
    ask(client, "POST", f"/images/{IMAGE}", {"username": "root"}, code=202)
    ask(client, "POST", f"/images/{IMAGE}/tag", {"tags": ["notes", "1.0"]}, code=202)
    groups = [
        {"name": name, "count": 1, "flavor_id": "1", "node_processes": [process]}
        for name, process in (("front", "desk"), ("back", "reader"))
    ]
    asked = {
        "name": "n1",
        "plugin_name": "notes",
        "hadoop_version": "1.0",
        "default_image_id": IMAGE,
        "neutron_management_network": NETWORK,
        "node_groups": groups,
    }
    made = ask(client, "POST", "/clusters", asked, code=202)["cluster"]["id"]

    def cluster() -> Json:
        found: Json = ask(client, "GET", f"/clusters/{made}")["cluster"]
        return found

    active = eventually(cluster, lambda now: now["status"] in ("Active", "Error"), PATIENCE)
    assert (active["status"], active["status_description"]) == ("Active", "")
    assert active["info"] == {"Notes": {"Desk": "n1-front-0"}}
    ask(client, "DELETE", f"/clusters/{made}", code=204)
    path = f"/clusters/{made}"
    eventually(lambda: client.get(path), lambda answer: answer.status_code == 404, PATIENCE)
