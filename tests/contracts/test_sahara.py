"""Contract: the requests recorded at a real Sahara 19.0.0, asked of this server in the same order.

Status, error_name and the keys of every answer are compared. What differs stands in :data:`DIFFERENCES`
with the reason; a difference that is gone makes the test fail as well.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from framework.model.jobs import JobKey
from gateway.clusters.model import Cluster, Group, NodeSpec, Phase
from gateway.context import Gateway
from gateway.dataprocessing.service import DataProcessing
from gateway.store import Store
from tests.contracts.sahara_replay import Json, Known, Replay, differences, read
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import TENANT, UNREGISTERED, asking

pytestmark = pytest.mark.gen_test(timeout=120)

# One after the other: what one creates, others refer to.
RECORDINGS = ("errors-routing-auth", "plugins", "images", "node-group-templates", "cluster-templates")
# What does not stand in its file at the place where it was asked: it came right after this one.
AFTER = {"ngt.delete.in_use": "ct.export", "ngt.update.in_use": "ct.update.in_use"}

# recording -> why it is not asked
LEFT_OUT: Mapping[str, str] = {}

DIFFERENCES: Mapping[str, tuple[int, str | int | None, str]] = {
    "accept.xml": (200, None, "an Accept header that it did not know made Sahara fail"),
    "ngt.create.volumes_no_cinder": (202, None, "there was no Cinder; data disks are there"),
    "ngt.create.no_content_type": (
        202,
        None,
        "no Content-Type is as good as JSON; the HTTP server took its absence for text/plain",
    ),
    "ngt.list.unknown_filter": (
        400,
        "INVALID_PARAMS_ON_REQUEST",
        "an unknown filter made Sahara fail; v2 of its API answers this",
    ),
}

_AT_ONCE = "what was not given is shown at once, as GET shows it later"
_SHOWN = {f"node_group_template.{name}" for name in ("description", "updated_at", "image_id", "shares")}
_V1_0 = "v1.0 has the keys of Savanna's documents"
KEYS: Mapping[str, tuple[set[str], set[str], str]] = {
    "auth.tenant_mismatch": (
        {"error", "error.code", "error.title", "error.message"},
        {"code", "title", "message"},
        "every 401 has the same shape",
    ),
    "versions.root": (
        set(),
        {"versions[].min_version", "versions[].max_version"},
        "they belong to v2, which is not offered",
    ),
    "plugins.list.v10": (
        set(),
        {"plugins[].plugin_labels", "plugins[].version_labels"},
        _V1_0,
    ),
    "ngt.create": (_SHOWN, set(), _AT_ONCE),
    "ngt.create.full": (
        {"node_group_template.updated_at", "node_group_template.shares"},
        set(),
        _AT_ONCE,
    ),
    "ngt.create.null_values": (
        {"node_group_template.updated_at", "node_group_template.shares"},
        set(),
        _AT_ONCE,
    ),
}


async def register_second_image(replay: Replay) -> None:
    """The recording begins after this."""
    path = f"/v1.1/{TENANT}/images/{UNREGISTERED}"
    headers = {"X-Auth-Token": "member", "Content-Type": "application/json"}
    for more, body in (("", {"username": "ubuntu"}), ("/tag", {"tags": ["vanilla", "2.8.2"]})):
        done = await replay.client("POST", path + more, json.dumps(body).encode(), headers=headers)
        assert done.code == 202, done.body


async def make_cluster(replay: Replay) -> None:
    """A cluster c1 of the recorded template, as the store has it."""
    template = replay.data.cluster_templates.get(TENANT, replay.ids[CT1])
    replay.store.clusters.create(
        Cluster(
            cluster_id="c1",
            key=f"sahara/{TENANT}/c1",
            owner="demo",
            provider="plugin",
            product=("fake", "0.1"),
            job=JobKey("devcluster", "demo", "sahara", "c1-1"),
            name="c1",
            project=TENANT,
            groups=tuple(
                Group(
                    one.name,
                    NodeSpec(0.1, 32),
                    extra={"node_group_template_id": one.node_group_template_id},
                )
                for one in template.node_groups
            ),
            extra={"cluster_template_id": template.id},
        )
    )


async def end_cluster(replay: Replay) -> None:
    replay.store.clusters.change("c1", lambda c: msgspec.structs.replace(c, phase=Phase.DELETED))


CT1 = "46641371-bc9c-4ada-8d29-ac4c6be60571"
# recording -> what had been done before it
BEFORE: Mapping[str, Callable[[Replay], Awaitable[None]]] = {
    "images.list.tags": register_second_image,
    "ct.delete.in_use": make_cluster,
    "ct.delete": end_cluster,
}


def recordings(shared: Path) -> list[Json]:
    """Returns all recordings in the order in which they are asked."""
    found = [one for name in RECORDINGS for one in read(shared, name)]
    for label, other in AFTER.items():
        late = [one for one in found if one["label"] == label]
        found = [one for one in found if one["label"] != label]
        place = [one["label"] for one in found].index(other) + 1
        found[place:place] = late
    return found


async def test_recordings(
    client: Client, gateway: Gateway, store: Store, data: DataProcessing, shared: Path
) -> None:
    gateway.access = asking()
    replay = Replay(client, store, data, BEFORE)
    wrong = []
    for recording in recordings(shared):
        if recording["label"] not in LEFT_OUT:
            answer = await replay.ask(recording)
            wrong += differences(recording, answer, Known(DIFFERENCES, KEYS))
    assert wrong == [], "\n".join(wrong)
