"""Every manager method of python-saharaclient for what is served here, as a program of its own.

Usage: python saharaclient_calls.py noauth|endpoint|password URL PROJECT [USER PASSWORD]. With
``password`` URL is that of a Keystone. Ends with status 0 if all went as it should.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from keystoneauth1 import noauth, session, token_endpoint
from keystoneauth1.identity import v3
from saharaclient.api.base import APIException
from saharaclient.api.client import Client

PLUGIN = {"plugin_name": "fake", "hadoop_version": "0.1"}


def connect(kind: str, url: str, project: str, user: str = "", password: str = "") -> Client:
    if kind == "noauth":
        auth: Any = noauth.NoAuth(endpoint=f"{url}/v1.1/{project}")
    elif kind == "endpoint":
        auth = token_endpoint.Token(f"{url}/v1.1/{project}", "a-token")
    else:
        auth = v3.Password(
            auth_url=url,
            username=user,
            password=password,
            project_name=project,
            user_domain_id="default",
            project_domain_id="default",
        )
    return Client(session=session.Session(auth=auth))


def wait(read: Any, what: str, holds: Any) -> Any:
    until = time.monotonic() + 120
    while True:
        value = read()
        if holds(value):
            return value
        assert time.monotonic() < until, f"{what}: {value}"
        time.sleep(0.2)


def refused(call: Any, code: int) -> None:
    try:
        call()
    except APIException as error:
        assert error.error_code == code, error
    except RuntimeError as error:  # what the client makes of it where it looks itself
        assert "Failed to upload" in str(error), error
    else:
        raise AssertionError(f"not refused with {code}")


def plugins(client: Client) -> None:
    assert "fake" in [one.name for one in client.plugins.list()]
    assert client.plugins.get("fake").versions == ["0.1"]
    details = client.plugins.get_version_details("fake", "0.1")
    assert details.required_image_tags == ["fake", "0.1"]
    shown = client.plugins.update("fake", {"plugin_labels": {"hidden": {"status": False}}})
    assert shown.name == "fake"
    refused(lambda: client.plugins.convert_to_cluster_template("fake", "0.1", "t", b"x"), 400)


def images(client: Client, image: str) -> None:
    client.images.update_image(image, "root", "to try things out")
    client.images.update_tags(image, ["fake", "0.1", "other"])
    client.images.update_tags(image, ["fake", "0.1"])
    assert sorted(client.images.get(image).tags) == ["0.1", "fake"]
    assert [one.id for one in client.images.list({"tags": ["fake"]})] == [image]
    client.images.unregister_image(image)
    assert client.images.list() == []
    client.images.update_image(image, "root")
    client.images.update_tags(image, ["fake", "0.1"])


def templates(client: Client, image: str, network: str) -> tuple[str, str]:
    groups = client.node_group_templates
    group = groups.create("worker", flavor_id="1", node_processes=["datanode"], **PLUGIN)
    groups.update(group.id, name="workers", description="many")
    assert groups.get(group.id).name == "workers"
    assert [one.id for one in groups.list()] == [group.id]
    assert groups.export(group.id).node_group_template["name"] == "workers"
    made = client.cluster_templates.create(
        "small",
        node_groups=[
            {"name": "m", "count": 1, "flavor_id": "1", "node_processes": ["namenode"]},
            {"name": "w", "count": 1, "node_group_template_id": group.id},
        ],
        net_id=network,
        default_image_id=image,
        **PLUGIN,
    )
    client.cluster_templates.update(made.id, name="smaller")
    assert client.cluster_templates.get(made.id).name == "smaller"
    assert [one.id for one in client.cluster_templates.list()] == [made.id]
    assert client.cluster_templates.export(made.id).cluster_template["name"] == "smaller"
    return group.id, made.id


def clusters(client: Client, template: str) -> None:
    def status(one_id: str) -> Any:
        return lambda: client.clusters.get(one_id, show_progress=True).status

    def gone() -> bool:
        return client.clusters.list() == []

    made = client.clusters.create("one", cluster_template_id=template, **PLUGIN)
    wait(status(made.id), "the cluster", lambda s: s == "Active")
    client.clusters.update(made.id, description="the first")
    assert client.clusters.get(made.id).description == "the first"
    client.clusters.verification_update(made.id, "START")
    client.clusters.scale(made.id, {"resize_node_groups": [{"name": "w", "count": 2}]})
    wait(status(made.id), "the scaled cluster", lambda s: s == "Active")
    counts = {group["name"]: group["count"] for group in client.clusters.get(made.id).node_groups}
    assert counts == {"m": 1, "w": 2}, counts
    client.clusters.delete(made.id)
    wait(gone, "the clusters", bool)
    client.clusters.create("two", cluster_template_id=template, count=2, **PLUGIN)
    for one in client.clusters.list():
        client.clusters.delete(one.id)
    wait(gone, "the clusters", bool)


def main(kind: str, url: str, project: str, image: str, network: str, *user: str) -> None:
    client = connect(kind, url, project, *user)
    plugins(client)
    images(client, image)
    group, template = templates(client, image, network)
    clusters(client, template)
    client.cluster_templates.delete(template)
    client.node_group_templates.delete(group)
    assert client.job_types.list() == []
    refused(lambda: client.node_group_templates.get(group), 404)


if __name__ == "__main__":
    main(*sys.argv[1:])
