"""Templates, the registry of images and the labels of plugins, beyond what was recorded of Sahara."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from framework.model.jobs import JobKey
from gateway.clusters.model import Cluster, Group, NodeSpec, Phase
from gateway.context import Gateway
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import (
    ADMIN,
    CLUSTER,
    GROUP,
    MEMBER,
    OTHER,
    REGISTERED,
    TENANT,
    UNREGISTERED,
    ask,
    asking,
)

pytestmark = pytest.mark.gen_test(timeout=60)

BASE = f"/v1.1/{TENANT}"
GROUPS = f"{BASE}/node-group-templates"
CLUSTERS = f"{BASE}/cluster-templates"


async def make_group(client: Client, **more: Any) -> str:
    made = await ask(client, "POST", GROUPS, {**GROUP, **more}, code=202)
    found: str = made["node_group_template"]["id"]
    return found


async def make_cluster_template(client: Client, *groups: str, **more: Any) -> str:
    asked = [
        {"name": f"g{n}", "count": n + 1, "node_group_template_id": g} for n, g in enumerate(groups)
    ]
    made = await ask(client, "POST", CLUSTERS, {**CLUSTER, "node_groups": asked, **more}, code=202)
    found: str = made["cluster_template"]["id"]
    return found


async def refused(client: Client, method: str, path: str, body: Any = None, code: int = 400) -> str:
    answer = await ask(client, method, path, body, code=code)
    found: str = answer["error_name"]
    return found


async def test_pages(client: Client) -> None:
    names = [f"g{n}" for n in range(5)]
    for name in names:
        await make_group(client, name=name)
    seen: list[str] = []
    path = f"{GROUPS}?sort_by=-name&limit=2"
    for _ in range(3):
        page = await ask(client, "GET", path, code=200)
        seen += [one["name"] for one in page["node_group_templates"]]
        path = f"{GROUPS}?sort_by=-name&limit=2&marker={page['markers']['next']}"
    assert seen == names[::-1]
    assert page["markers"]["next"] is None
    found = await ask(client, "GET", f"{GROUPS}?name=g3&plugin_name=fake&is_public=false", code=200)
    assert [one["name"] for one in found["node_group_templates"]] == ["g3"]
    assert "markers" not in found
    # As Python's clients write it.
    for flag, number in (("True", 0), ("False", 5)):
        found = await ask(client, "GET", f"{GROUPS}?is_public={flag}", code=200)
        assert len(found["node_group_templates"]) == number


async def test_a_change_reaches_the_cluster_templates(client: Client) -> None:
    group = await make_group(client)
    other = await make_group(client, name="other", node_processes=["namenode"])
    template = await make_cluster_template(client, group, other)
    changed = {"node_processes": ["datanode"], "volumes_per_node": 2, "volumes_size": 3}
    await ask(client, "PUT", f"{GROUPS}/{group}", changed, code=202)
    found = await ask(client, "GET", f"{CLUSTERS}/{template}", code=200)
    first, second = found["cluster_template"]["node_groups"]
    assert (first["name"], first["count"]) == ("g0", 1)
    assert (first["node_processes"], first["volumes_per_node"]) == (["datanode"], 2)
    assert second["node_processes"] == ["namenode"]
    assert found["cluster_template"]["updated_at"] is not None


async def test_groups_override_their_template(client: Client) -> None:
    group = await make_group(client)
    asked = [{"name": "w", "count": 3, "node_group_template_id": group, "flavor_id": 2}]
    made = await ask(client, "POST", CLUSTERS, {**CLUSTER, "node_groups": asked}, code=202)
    (found,) = made["cluster_template"]["node_groups"]
    assert (found["name"], found["count"], found["flavor_id"]) == ("w", 3, "2")
    assert found["node_processes"] == GROUP["node_processes"]
    # All groups are replaced by those of a change.
    new = {"node_groups": [{"name": "n", "count": 0, "flavor_id": "42", "node_processes": ["namenode"]}]}
    path = f"{CLUSTERS}/{made['cluster_template']['id']}"
    changed = await ask(client, "PUT", path, new, code=202)
    assert [one["name"] for one in changed["cluster_template"]["node_groups"]] == ["n"]
    await ask(client, "DELETE", f"{GROUPS}/{group}", code=204)


async def test_another_plugin_must_know_what_stays(client: Client) -> None:
    group = await make_group(client, node_configs={"Kerberos": {"Admin principal": "x"}})
    plugin = {"plugin_name": "vanilla", "hadoop_version": "1.2.1"}
    assert await refused(client, "PUT", f"{GROUPS}/{group}", plugin) == "INVALID_REFERENCE"
    await ask(client, "PUT", f"{GROUPS}/{group}", {**plugin, "node_configs": {}}, code=202)
    template = await make_cluster_template(client, anti_affinity=["namenode"])
    path = f"{CLUSTERS}/{template}"
    configs = {"general": {"Fail at": "x"}}
    await ask(client, "PUT", path, {"cluster_configs": configs}, code=202)
    assert await refused(client, "PUT", path, plugin) == "INVALID_REFERENCE"


async def test_protected_and_public(client: Client, gateway: Gateway) -> None:
    gateway.access = asking()
    body = {**GROUP, "is_public": True, "is_protected": True}
    made = await ask(client, "POST", GROUPS, body, code=202, headers=MEMBER)
    mine = f"{GROUPS}/{made['node_group_template']['id']}"
    theirs = f"/v1.1/{OTHER}/node-group-templates/{made['node_group_template']['id']}"
    await ask(client, "GET", theirs, code=200, headers=ADMIN)
    # The name of what is public is taken for everybody who sees it.
    again = await ask(
        client, "POST", f"/v1.1/{OTHER}/node-group-templates", GROUP, code=400, headers=ADMIN
    )
    assert again["error_name"] == "NAME_ALREADY_EXISTS"
    for change in ({"description": "x"}, {"is_protected": True}, {"is_public": False, "name": "y"}):
        answer = await ask(client, "PUT", mine, change, code=400, headers=MEMBER)
        assert answer["error_name"] == "UPDATE_FAILED"
    await ask(client, "PUT", mine, {"is_public": False}, code=202, headers=MEMBER)
    await ask(client, "GET", theirs, code=404, headers=ADMIN)
    change = {"is_protected": False, "description": "x"}
    await ask(client, "PUT", mine, change, code=202, headers=MEMBER)
    await ask(client, "DELETE", mine, code=204, headers=MEMBER)


def in_use(template: str, group: str) -> Cluster:
    return Cluster(
        cluster_id="one",
        key=f"sahara/{TENANT}/one",
        owner="anonymous",
        provider="plugin",
        product=("fake", "0.1"),
        job=JobKey("devcluster", "anonymous", "sahara", "one"),
        name="one",
        project=TENANT,
        groups=(Group("w", NodeSpec(0.1, 32), extra={"node_group_template_id": group}),),
        extra={"cluster_template_id": template},
    )


async def test_what_a_cluster_uses_stays(client: Client, store: Store) -> None:
    group = await make_group(client)
    template = await make_cluster_template(client, group)
    store.clusters.create(in_use(template, group))
    for path in (f"{GROUPS}/{group}", f"{CLUSTERS}/{template}"):
        assert await refused(client, "PUT", path, {"description": "x"}) == "UPDATE_FAILED"
        assert await refused(client, "DELETE", path) == "INVALID_REFERENCE"
    store.clusters.change("one", lambda c: msgspec.structs.replace(c, phase=Phase.DELETED))
    await ask(client, "DELETE", f"{CLUSTERS}/{template}", code=204)
    await ask(client, "DELETE", f"{GROUPS}/{group}", code=204)


async def test_a_protected_cluster_template_does_not_change_with_its_groups(client: Client) -> None:
    group = await make_group(client)
    path = f"{CLUSTERS}/{await make_cluster_template(client, group, is_protected=True)}"
    before = await ask(client, "GET", path, code=200)
    change = {"volumes_per_node": 1, "volumes_size": 7}
    assert await refused(client, "PUT", f"{GROUPS}/{group}", change) == "UPDATE_FAILED"
    found = await ask(client, "GET", f"{GROUPS}/{group}", code=200)
    assert found["node_group_template"]["volumes_per_node"] == 0
    # What is not in it is nothing of its.
    await ask(client, "PUT", f"{GROUPS}/{group}", {"name": "another", "is_public": True}, code=202)
    assert await ask(client, "GET", path, code=200) == before
    await ask(client, "PUT", path, {"is_protected": False}, code=202)
    await ask(client, "PUT", f"{GROUPS}/{group}", change, code=202)
    found = await ask(client, "GET", path, code=200)
    assert found["cluster_template"]["node_groups"][0]["volumes_size"] == 7


async def test_images_must_be_registered_with_the_tags(client: Client) -> None:
    wanted = {**GROUP, "image_id": UNREGISTERED}
    assert await refused(client, "POST", GROUPS, wanted) == "INVALID_REFERENCE"
    image = f"{BASE}/images/{UNREGISTERED}"
    assert await refused(client, "POST", f"{image}/tag", {"tags": ["fake"]}) == "IMAGE_NOT_REGISTERED"
    await ask(client, "POST", image, {"username": "ubuntu"}, code=202)
    assert await refused(client, "POST", GROUPS, wanted) == "INVALID_REFERENCE"
    await ask(client, "POST", f"{image}/tag", {"tags": ["fake", "0.1", "fake"]}, code=202)
    await ask(client, "POST", GROUPS, wanted, code=202)
    await ask(client, "POST", image, {"username": "debian", "description": "d"}, code=202)
    found = await ask(client, "GET", image, code=200)
    assert (found["image"]["username"], found["image"]["tags"]) == ("debian", ["fake", "0.1"])
    assert found["image"]["metadata"]["_sahara_description"] == "d"
    tagged = await ask(client, "GET", f"{BASE}/images?tags=fake&tags=0.1", code=200)
    assert {one["id"] for one in tagged["images"]} == {REGISTERED, UNREGISTERED}
    # What the operator has registered for everybody, a tenant may have otherwise.
    await ask(client, "DELETE", f"{BASE}/images/{REGISTERED}", code=204)
    assert await refused(client, "DELETE", f"{BASE}/images/{REGISTERED}") == "IMAGE_NOT_REGISTERED"
    tagged = await ask(client, "GET", f"{BASE}/images", code=200)
    assert [one["id"] for one in tagged["images"]] == [UNREGISTERED]
    await ask(client, "GET", f"/v1.1/other/images/{REGISTERED}", code=200)
    # Its tags go with the registration.
    await ask(client, "DELETE", image, code=204)
    again = await ask(client, "POST", image, {"username": "ubuntu"}, code=202)
    assert again["image"]["tags"] == []


async def test_labels(client: Client) -> None:
    path = f"{BASE}/plugins/vanilla"
    off = {"version_labels": {"1.2.1": {"enabled": {"status": False}}}}
    changed = await ask(client, "PATCH", path, off, code=202)
    labels = changed["plugin"]["version_labels"]["1.2.1"]
    assert labels["enabled"] == {
        "status": False,
        "mutable": True,
        "description": "Plugin or its version is enabled and can be used by user.",
    }
    body = {**GROUP, "plugin_name": "vanilla", "hadoop_version": "1.2.1"}
    assert await refused(client, "POST", GROUPS, body) == "INVALID_REFERENCE"
    off["version_labels"]["1.2.1"]["enabled"]["status"] = True
    await ask(client, "PATCH", path, off, code=202)
    await ask(client, "POST", GROUPS, body, code=202)
    unknown = {"version_labels": {"9": {"enabled": {"status": True}}}}
    assert await refused(client, "PATCH", path, unknown) == "INVALID_REFERENCE"
    assert await refused(client, "PATCH", f"{BASE}/plugins/no", off, code=404) == "NOT_FOUND"


async def test_groups_of_the_old_api_have_its_volumes(client: Client) -> None:
    """Also after a change: those of templates keep what their templates say."""
    clusters = CLUSTERS.replace("/v1.1/", "/v1.0/")
    inline = {"count": 1, "flavor_id": "42", "node_processes": ["namenode"]}
    group = await make_group(client)
    asked = [{"name": "a", **inline}, {"name": "b", "count": 1, "node_group_template_id": group}]
    made = await ask(client, "POST", clusters, {**CLUSTER, "node_groups": asked}, code=202)
    path = f"{clusters}/{made['cluster_template']['id']}"
    changed = await ask(client, "PUT", path, {"node_groups": asked}, code=202)
    for found in (made, changed):
        assert [one["volumes_size"] for one in found["cluster_template"]["node_groups"]] == [10, 0]


async def test_old_keys(client: Client) -> None:
    """What v1.0 makes, v1.1 shows, and the other way round; names may have underscores in v1.0."""
    old = "/v1.0/t/node-group-templates"
    made = (await ask(client, "POST", old, {**GROUP, "name": "old_name"}, code=202))[
        "node_group_template"
    ]
    assert set(made) == {
        *("id", "name", "plugin_name", "hadoop_version", "description", "created", "updated"),
        *("flavor_id", "node_processes", "node_configs", "volumes_per_node", "volumes_size"),
        "volume_mount_prefix",
    }
    shown = await ask(client, "GET", f"/v1.1/t/node-group-templates/{made['id']}", code=200)
    assert shown["node_group_template"]["name"] == "old_name"
    assert shown["node_group_template"]["created_at"] == made["created"]
    new = "/v1.1/t/node-group-templates"
    assert await refused(client, "POST", new, {**GROUP, "name": "new_name"}) == "VALIDATION_ERROR"
