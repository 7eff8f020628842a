"""What was recorded at a real Sahara 19.0.0, asked of this server in the same order, and compared."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPResponse

from gateway.dataprocessing.service import DataProcessing
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.sahara.conftest import OTHER

Json = dict[str, Any]
# Objects whose keys are data: what is in them is not compared.
DATA = frozenset(
    {"plugin_labels", "version_labels", "node_processes", "node_configs", "cluster_configs", "metadata"}
)


@dataclass(frozen=True)
class Known:
    """The differences from the recordings that are meant, each with its reason."""

    # recording -> what is answered instead (status, error_name), and why
    answers: Mapping[str, tuple[int, str | int | None, str]] = field(default_factory=dict)
    # recording -> keys that are only in our answer, keys that are only in theirs, and why
    keys: Mapping[str, tuple[set[str], set[str], str]] = field(default_factory=dict)


class Replay:
    """Asks what was asked then; knows which of our ids stand for which of theirs."""

    def __init__(
        self,
        client: Client,
        store: Store,
        data: DataProcessing,
        before: Mapping[str, Callable[[Replay], Awaitable[None]]] | None = None,
    ) -> None:
        """``before``: recording -> what had been done before it."""
        self.client = client
        self.store = store
        self.data = data
        self.before = before or {}
        self.ids: dict[str, str] = {}

    async def ask(self, recording: Json) -> HTTPResponse:
        request = recording["request"]
        label = recording["label"]
        if label in self.before:
            await self.before[label](self)
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


def differences(recording: Json, answer: HTTPResponse, known: Known) -> list[str]:
    """Returns a sentence for each difference that is not known, or is known and is none."""
    label, theirs = recording["label"], recording["response"]
    body = body_of(answer)
    error_name = body.get("error_name") if isinstance(body, dict) else None
    expected: tuple[int, Any] = (theirs["status"], (theirs["body"] or {}).get("error_name"))
    if label in known.answers:
        assert expected != known.answers[label][:2], f"{label} is no difference"
        expected = known.answers[label][:2]
    if (answer.code, error_name) != expected:
        return [f"{label}: {answer.code} {error_name}, not {expected}: {answer.body[:300]!r}"]
    if label in known.answers:
        return []
    mine, other = keys_of(body), keys_of(theirs["body"])
    more, less, _ = known.keys.get(label, (set(), set(), ""))
    if (mine - other, other - mine) != (more, less):
        return [f"{label}: more {mine - other}, less {other - mine}"]
    return []
