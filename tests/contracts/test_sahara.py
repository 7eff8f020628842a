"""Contract: the requests recorded at a real Sahara 19.0.0, asked of this server in the same order.

Status, error_name and the keys of every answer are compared. What differs stands in :data:`DIFFERENCES`
with the reason; a difference that is gone makes the test fail as well.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tornado.httpclient import HTTPResponse

from framework.model.jobs import JobKey
from gateway.clusters.model import Cluster, Group, NodeSpec, Phase
from gateway.context import Gateway
from gateway.dataprocessing.service import DataProcessing
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import (
    OTHER,
    TENANT,
    UNREGISTERED,
    access,
    app,
    asking,
    catalogue,
    client,
    commands,
    data,
    executed,
    gateway,
    http_server,
    keys,
    limits,
    mesos,
    mode,
    open_gateway,
    parts,
    plugins,
    pool,
    registry,
    service,
    source,
    store,
    workers,
)
from tests.gateway.conftest import io_loop

__all__ = [
    "access",
    "app",
    "catalogue",
    "client",
    "commands",
    "data",
    "executed",
    "gateway",
    "http_server",
    "io_loop",
    "keys",
    "limits",
    "mesos",
    "mode",
    "open_gateway",
    "parts",
    "plugins",
    "pool",
    "registry",
    "service",
    "source",
    "store",
    "workers",
]
pytestmark = pytest.mark.gen_test(timeout=120)
Json = dict[str, Any]

# One after the other: what one creates, others refer to.
RECORDINGS = ("errors-routing-auth", "plugins", "images", "node-group-templates", "cluster-templates")
# What does not stand in its file at the place where it was asked: it came right after this one.
AFTER = {"ngt.delete.in_use": "ct.export", "ngt.update.in_use": "ct.update.in_use"}

# recording -> why it is not asked
LEFT_OUT: Mapping[str, str] = {}

# recording -> what is answered instead (status, error_name), and why
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

# recording -> keys that are only in our answer, keys that are only in theirs, and why
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
# Objects whose keys are data: what is in them is not compared.
DATA = frozenset(
    {"plugin_labels", "version_labels", "node_processes", "node_configs", "cluster_configs", "metadata"}
)


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


class Replay:
    """Asks what was asked then; knows which of our ids stand for which of theirs."""

    def __init__(self, client: Client, store: Store, data: DataProcessing) -> None:
        self.client = client
        self.store = store
        self.data = data
        self.ids: dict[str, str] = {}

    async def ask(self, recording: Json) -> HTTPResponse:
        request = recording["request"]
        label = recording["label"]
        if label in BEFORE:
            await BEFORE[label](self)
        # The client of the tests would put in one of its own for none.
        headers = {"Content-Type": request["headers"].get("Content-Type", "")}
        if "Accept" in request["headers"]:
            headers["Accept"] = request["headers"]["Accept"]
        if label not in ("auth.no_token", "versions.root"):
            headers["X-Auth-Token"] = self.token(label, request["path"])
        body = request.get("body")
        sent = None
        if isinstance(body, dict) and "__raw__" in body:
            sent = body["__raw__"].encode()
        elif body is not None:
            sent = self.ours(json.dumps(body)).encode()
        answer = await self.client(request["method"], self.ours(request["path"]), sent, headers=headers)
        self.learn(recording["response"]["body"], answer)
        return answer

    def token(self, label: str, path: str) -> str:
        """The recording does not say whose token it was: it was that of the path's tenant."""
        if label == "auth.bad_token":
            return "bad"
        return "admin" if OTHER in path and label != "auth.tenant_mismatch" else "member"

    def ours(self, text: str) -> str:
        for theirs, mine in self.ids.items():
            text = text.replace(theirs, mine)
        return text

    def learn(self, theirs: Any, answer: HTTPResponse) -> None:
        mine = body_of(answer)
        if answer.code != 202 or not isinstance(theirs, dict) or not isinstance(mine, dict):
            return
        for name, value in theirs.items():
            if isinstance(value, dict) and isinstance(mine.get(name), dict) and "id" in value:
                self.ids[value["id"]] = mine[name]["id"]


def body_of(answer: HTTPResponse) -> Any:
    return json.loads(answer.body) if answer.body else None


def keys_of(value: Any, path: str = "") -> set[str]:
    """Returns the paths of all keys in a body; those of a list's items together."""
    if isinstance(value, list):
        return {key for item in value for key in keys_of(item, f"{path}[]")}
    found = set()
    for name, item in value.items() if isinstance(value, dict) else ():
        here = f"{path}.{name}".lstrip(".")
        found |= {here} if name in DATA else {here, *keys_of(item, here)}
    return found


def read(shared: Path, name: str) -> list[Json]:
    found: list[Json] = json.loads((shared / f"data/sahara/{name}.json").read_text(encoding="utf-8"))
    return found


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
    replay = Replay(client, store, data)
    wrong = []
    for recording in recordings(shared):
        if recording["label"] not in LEFT_OUT:
            answer = await replay.ask(recording)
            wrong += differences(recording, answer)
    assert wrong == [], "\n".join(wrong)


def differences(recording: Json, answer: HTTPResponse) -> list[str]:
    """Returns a sentence for each difference that is not known, or is known and is none."""
    label, theirs = recording["label"], recording["response"]
    body = body_of(answer)
    found = []
    error_name = body.get("error_name") if isinstance(body, dict) else None
    expected: tuple[int, Any] = (theirs["status"], (theirs["body"] or {}).get("error_name"))
    if label in DIFFERENCES:
        assert expected != DIFFERENCES[label][:2], f"{label} is no difference"
        expected = DIFFERENCES[label][:2]
    if (answer.code, error_name) != expected:
        found.append(f"{label}: {answer.code} {error_name}, not {expected}: {answer.body[:300]!r}")
    elif label not in DIFFERENCES:
        mine, other = keys_of(body), keys_of(theirs["body"])
        more, less, _ = KEYS.get(label, (set(), set(), ""))
        if (mine - other, other - mine) != (more, less):
            found.append(f"{label}: more {mine - other}, less {other - mine}")
    return found
