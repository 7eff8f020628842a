"""A gateway with a catalogue and plugins, whose clusters nobody moves: the data clusters API alone."""

from __future__ import annotations

import json
import time
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse

from framework.model.errors import Unauthorized
from gateway.auth.access import Access
from gateway.auth.authenticators import Credentials
from gateway.auth.identity import Identity
from gateway.context import ClusterParts, Gateway
from gateway.dataprocessing.catalogue import CloudNetwork, Flavor, Image, Keypair
from gateway.dataprocessing.service import DataProcessing, data_processing
from gateway.plugins import loader
from gateway.plugins.loader import Plugins
from gateway.store import Store
from tests.gateway.api.conftest import Client
from tests.gateway.api.paas.conftest import *  # noqa: F403 -- fixtures
from tests.gateway.dataprocessing.world import FixedCatalogue

TENANT = "52778b7b79264c1397bd1e4486f41e35"
OTHER = "98c7a399e3be408aab60037603909d94"
REGISTERED = "aaaaaaaa-0000-0000-0000-000000000001"
UNREGISTERED = "aaaaaaaa-0000-0000-0000-000000000002"
NETWORK = "11111111-2222-3333-4444-555555555555"
FAKE = EntryPoint("fake", "gateway.plugins.fake.plugin:FakePlugin", loader.GROUP)
VANILLA = EntryPoint("vanilla", "gateway.plugins.vanilla.plugin:VanillaPlugin", loader.GROUP)


@pytest.fixture
def catalogue() -> FixedCatalogue:
    """As it was when Sahara was recorded."""
    return FixedCatalogue(
        (Flavor("42", "m1.nano", 0.1, 64, 1), Flavor("2", "m1.small", 1, 2048, 20)),
        (
            Image(REGISTERED, "cirros-fake", "cirros", "cirros", ("fake", "0.1"), 13287936),
            Image(UNREGISTERED, "plain-unregistered", "plain"),
        ),
        (CloudNetwork(NETWORK, "private"),),
        (Keypair("demo-key", "ssh-ed25519 AAAA"),),
    )


@pytest.fixture
def plugins() -> Plugins:
    found = loader.load([FAKE, VANILLA])
    assert not found.broken
    return found


@pytest.fixture
def data(
    store: Store, parts: ClusterParts, plugins: Plugins, catalogue: FixedCatalogue
) -> DataProcessing:
    return data_processing(store, parts.service, plugins, catalogue, time.time)


@pytest.fixture
def gateway(open_gateway: Gateway, parts: ClusterParts, data: DataProcessing, access: Access) -> Gateway:
    open_gateway.clusters = parts
    open_gateway.dataprocessing = data
    open_gateway.access = access
    return open_gateway


class Tokens:
    """Knows who has which token."""

    challenge = 'Keystone uri="http://127.0.0.1/identity/v3"'

    def __init__(self, identities: dict[str, Identity]) -> None:
        self.identities = identities

    def recall(self, credentials: Credentials) -> Identity | None:
        return self.identities.get(credentials.value)

    async def authenticate(self, credentials: Credentials) -> Identity | None:
        if (found := self.recall(credentials)) is None:
            raise Unauthorized("the token is none, or has expired")
        return found

    def reload(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """There is nothing to close."""


MEMBER = {"X-Auth-Token": "member"}
ADMIN = {"X-Auth-Token": "admin"}
IDENTITIES = {
    "member": Identity("demo", frozenset({"member"}), project=TENANT),
    "admin": Identity("root", frozenset({"admin"}), admin=True, project=OTHER),
    # Of a server with users of its own, who have no tenants.
    "ann": Identity("ann", frozenset({"research"})),
    "boss": Identity("boss", admin=True),
}


def asking() -> Access:
    """What a server has that knows its callers by these tokens."""
    return Access([Tokens(IDENTITIES)])


async def ask(
    client: Client, method: str, path: str, body: Any = None, *, code: int, **more: Any
) -> Any:
    """Returns the body of an answer, which must have the status ``code``."""
    sent = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    answer = await client(method, path, sent, headers=headers, **more)
    assert answer.code == code, (method, path, answer.code, answer.body)
    return json.loads(answer.body) if answer.body else None


def fault(answer: HTTPResponse) -> dict[str, Any]:
    """Returns a failure's body, which is as the contract has it."""
    body: dict[str, Any] = json.loads(answer.body)
    if answer.code == 401:
        assert set(body["error"]) == {"code", "title", "message"}
    elif "error" in body:
        assert answer.code in (404, 405)
        assert set(body) == {"error", "error_message"}
        assert body["error"] == answer.code
    else:
        assert set(body) == {"error_code", "error_name", "error_message"}, body
        assert body["error_code"] == answer.code
        sentence, _, reference = body["error_message"].rpartition("\nError ID: ")
        assert sentence
        assert reference == answer.headers["X-Request-Id"]
    assert answer.headers["X-Openstack-Request-Id"] == f"req-{answer.headers['X-Request-Id']}"
    return body


GROUP = {
    "name": "workers",
    "plugin_name": "fake",
    "hadoop_version": "0.1",
    "flavor_id": "42",
    "node_processes": ["datanode", "tasktracker"],
}
CLUSTER = {
    "name": "ct1",
    "plugin_name": "fake",
    "hadoop_version": "0.1",
    "node_groups": [{"name": "w", "flavor_id": "42", "node_processes": ["datanode"], "count": 1}],
}
