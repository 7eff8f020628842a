"""Who gets in, who sees whose jobs, what is written down: over HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders

from framework.model.errors import Unauthorized, Unavailable
from gateway.auth.access import Access, Kind
from gateway.auth.authenticators import Authenticator, make_authenticators
from gateway.auth.identity import ANONYMOUS, Identity
from gateway.auth.rates import Rate
from gateway.context import Gateway
from gateway.options import Options
from tests.gateway.api.conftest import JOB, Client, config, errors
from tests.gateway.auth.conftest import PASSWORD, TOKENS, audited, basic, bearer, standing_still

pytestmark = pytest.mark.gen_test(timeout=120)

# Every resource of a job, and what is done to it.
OF_A_JOB = [
    ("GET", JOB),
    ("DELETE", JOB),
    ("PUT", JOB + "/restart"),
    ("GET", JOB + "/update"),
    ("PUT", JOB + "/update"),
    ("DELETE", JOB + "/update"),
    ("GET", JOB + "/instances/0"),
    ("GET", JOB + "/instances/0/logs"),
]
LISTS = ["/alpha/jobs/devcluster", "/alpha/jobs/devcluster/www-data"]


def made(file: Path) -> tuple[Authenticator, ...]:
    return make_authenticators(Options(auth=("tokens", "basic"), auth_file=file))


async def filled(client: Client) -> None:
    assert (await client("PUT", JOB, config(), headers=bearer("alice"))).code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "x"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer mg_unknown"},
        {"Authorization": "Bearer " + "x" * 50_000},
        {"Authorization": "Digest username=alice"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": f"Bearer {TOKENS['old']}"},
        basic("alice", "wrong"),
        basic("nobody", PASSWORD),
        basic("bob", ""),
    ],
)
async def test_who_is_not_known_gets_nowhere(client: Client, headers: dict[str, str]) -> None:
    for method, path in [*OF_A_JOB, ("PUT", JOB), ("GET", LISTS[0]), ("GET", "/metrics")]:
        answer = await client(method, path, headers=headers)
        assert answer.code == 401, (method, path)
        challenge = answer.headers["WWW-Authenticate"]
        assert "Bearer realm" in challenge
        assert "Basic realm" in challenge
        if headers.get("Authorization", "").startswith("Basic"):
            break  # each costs the time of a password
    assert (await client("GET", "/alpha/version")).code == 200
    assert (await client("GET", "/health")).code in (200, 503)


async def test_a_user_works_with_the_jobs_of_the_role(client: Client) -> None:
    await filled(client)
    for method, path in [("GET", JOB), *[("GET", path) for path in LISTS], ("PUT", JOB + "/restart")]:
        answer = await client(method, path, headers=basic("alice", PASSWORD))
        assert answer.code in (200, 202), (method, path, answer.body)
    answer = await client("GET", JOB, headers=bearer("alice"))
    assert json.loads(answer.body)["created_by"] == "alice"
    assert (await client("DELETE", JOB, headers=bearer("admin"))).code == 200


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
async def test_the_job_of_another_role_is_as_one_that_is_not(
    client: Client, method: str, path: str
) -> None:
    """Every resource, two tenants: word for word the answer that a job gets that does not exist."""
    await filled(client)
    absent = await client(method, path.replace("/hello", "/absent"), headers=bearer("bob"))
    present = await client(method, path, headers=bearer("bob"))
    assert present.code == absent.code == 404
    assert present.body.replace(b"hello", b"absent") == absent.body
    assert errors(present) == [f"there is no job {JOB.removeprefix('/alpha/jobs/')}"]
    view = json.loads((await client("GET", JOB, headers=bearer("alice"))).body)
    assert view["count"] == 2
    states = {instance["state"] for instance in view["instances"]}
    assert states <= {"PENDING", "ASSIGNED", "STARTING", "RUNNING"}


async def test_another_role_can_be_neither_listed_nor_filled(client: Client) -> None:
    await filled(client)
    for path in LISTS:
        answer = await client("GET", path, headers=bearer("bob"))
        assert answer.code == 404
        assert b"hello" not in answer.body
    refused = await client("PUT", JOB.replace("hello", "mine"), config("mine"), headers=bearer("bob"))
    assert refused.code == 403
    assert "does not have the role www-data" in errors(refused)[0]
    assert (await client("GET", LISTS[0], headers=bearer("admin"))).code == 200


async def test_events_are_those_of_the_users_own_roles(client: Client, gateway: Gateway) -> None:
    heard: dict[str, bytearray] = {"alice": bytearray(), "bob": bytearray()}
    readers = [
        asyncio.ensure_future(
            client("GET", "/alpha/events?after=0", headers=bearer(name), streaming_callback=into.extend)
        )
        for name, into in heard.items()
    ]
    await filled(client)
    async with asyncio.timeout(60):
        while b"PENDING" not in heard["alice"] or b"nothing new" not in heard["bob"]:
            await asyncio.sleep(0.01)
    assert b"hello" not in heard["bob"]
    await gateway.requests.drain(1)
    await asyncio.gather(*readers)


class TestReadingAny:
    @pytest.fixture
    def reading(self) -> str:
        return "any"

    async def test_others_read_and_change_nothing(self, client: Client) -> None:
        await filled(client)
        for method, path in [*OF_A_JOB, *[("GET", path) for path in LISTS]]:
            answer = await client(method, path, headers=bearer("bob"))
            if method == "GET":
                assert answer.code == 200 or b"no log yet" in answer.body or b"never been" in answer.body
            else:
                assert answer.code == 403, path


async def test_it_is_written_down_what_of_a_job_was_to_change(client: Client, audit_file: Path) -> None:
    job = f"{LISTS[1]}/prod/hello"
    await client("DELETE", f"{job}?shards=0,2-3", headers=bearer("admin"))
    await client("DELETE", f"{job}?shard=mg_secret", headers=bearer("admin"))
    # What no route knows may be anything.
    assert [e["path"] for e in audited(audit_file)] == [f"{job}?shards=0%2C2-3", job]


async def test_changes_are_written_down_and_reads_are_not(client: Client, audit_file: Path) -> None:
    await filled(client)
    await client("GET", JOB, headers=bearer("alice"))
    await client("DELETE", JOB, headers={**bearer("bob"), "X-Request-Id": "from-the-client.1"})
    refused = await client("DELETE", JOB, headers={"X-Request-Id": "no good: space"})
    entries = audited(audit_file)
    assert [(e["user"], e["method"], e["status"]) for e in entries] == [
        ("alice", "PUT", 201),
        ("bob", "DELETE", 404),
        (None, "DELETE", 401),
    ]
    assert entries[0]["path"] == JOB
    assert entries[0]["remote"] == "127.0.0.1"
    assert entries[1]["request_id"] == "from-the-client.1"
    assert entries[2]["request_id"] == refused.headers["X-Request-Id"] != "no good: space"


async def test_no_secret_is_logged(
    client: Client, audit_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gateway")
    await filled(client)
    answers = [
        await client("GET", JOB, headers=headers)
        for headers in (
            basic("alice", PASSWORD),
            basic("alice", "hunter2-wrong"),
            {"Authorization": "Bearer mg_hunter2"},
        )
    ]
    said = caplog.text + audit_file.read_text() + "".join(str(a.body) + str(a.headers) for a in answers)
    for secret in (*TOKENS.values(), PASSWORD, "hunter2"):
        assert secret not in said


async def test_wrong_credentials_are_not_tried_for_ever(client: Client, access: Access) -> None:
    codes = [
        (await client("GET", JOB, headers={"Authorization": f"Bearer {n}"})).code for n in range(40)
    ]
    assert codes[:30] == [401] * 30
    assert codes[-1] == 429
    answer = await client("GET", JOB, headers={"Authorization": "Bearer x"})
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await client("GET", "/alpha/version")).code == 200


async def test_who_is_known_gets_in_whatever_others_try_from_there(client: Client) -> None:
    """Bob's password has not been seen yet; that of alice has, and a token costs nothing."""
    assert (await client("GET", LISTS[0], headers=basic("alice", PASSWORD))).code == 404
    for n in range(40):
        await client("GET", JOB, headers={"Authorization": f"Bearer {n}"})
    assert (await client("GET", LISTS[0], headers=basic("bob", PASSWORD))).code == 429
    assert (await client("GET", LISTS[0], headers=basic("alice", PASSWORD))).code == 404
    assert (await client("GET", LISTS[0], headers=bearer("bob"))).code == 404
    assert (await client("GET", LISTS[0], headers=basic("alice", "wrong"))).code == 429


async def test_one_password_of_many_requests_is_checked_once(access: Access) -> None:
    """More requests at once than passwords may wait."""
    known = await asyncio.gather(
        *(access.admit(basic("alice", PASSWORD), "192.0.2.1", "read") for _ in range(60))
    )
    assert {identity.user for identity in known} == {"alice"}


async def test_what_is_open_stays_open_while_passwords_are_guessed(access: Access) -> None:
    """From everywhere, more than may wait: those are told to come again."""

    def guess(n: int, kind: Kind) -> Awaitable[Identity]:
        return access.admit(basic("alice", f"wrong{n}"), f"192.0.2.{n}", kind)

    guesses = [guess(n, "read") for n in range(60)]
    opened = [guess(n, "open") for n in range(60, 120)]
    answers = await asyncio.gather(*guesses, *opened, return_exceptions=True)
    assert {type(answer) for answer in answers[:60]} == {Unauthorized, Unavailable}
    assert set(answers[60:]) == {ANONYMOUS}


async def test_health_has_its_details_for_users(client: Client) -> None:
    told = json.loads((await client("GET", "/health", headers=bearer("bob"))).body)
    assert set(told) == {"status", "ready", "version", "problems", "clusters"}
    wrong = {"Authorization": "Bearer mg_unknown"}
    for headers in ({}, wrong):
        answer = await client("GET", "/health", headers=headers)
        assert (answer.code == 200) is told["ready"]
        assert json.loads(answer.body) == {name: told[name] for name in ("status", "ready", "version")}


class TestOpenMetrics:
    @pytest.fixture
    def access(self, file: Path) -> Iterator[Access]:
        access = Access(made(file), open_metrics=True)
        yield access
        access.close()

    async def test_they_and_nothing_more_are_for_everybody(self, client: Client) -> None:
        assert (await client("GET", "/metrics")).code == 200
        assert (await client("GET", "/metrics", headers={"Authorization": "Bearer x"})).code == 200
        assert (await client("GET", LISTS[0])).code == 401


class TestBehindAProxy:
    """Which is on this machine, as the tests are."""

    @pytest.fixture
    def access(self, file: Path) -> Iterator[Access]:
        proxies = (ipaddress.ip_network("127.0.0.0/8"),)
        access = Access(made(file), clock=standing_still, proxies=proxies)
        yield access
        access.close()

    async def test_each_client_is_counted_and_written_down(
        self, client: Client, audit_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "gateway.access")

        async def guess(*forwarded: str) -> int:
            headers = HTTPHeaders({"Authorization": "Bearer x"})
            for value in forwarded:
                headers.add("X-Forwarded-For", value)
            return (await client("DELETE", JOB, headers=headers)).code

        # Whatever one makes up before the proxy adds the address.
        codes = [await guess(f"203.0.113.{n}", "198.51.100.7") for n in range(40)]
        assert codes[:30] == [401] * 30
        assert codes[-1] == 429
        assert await guess("198.51.100.8") == 401
        assert {entry["remote"] for entry in audited(audit_file)} == {"198.51.100.7", "198.51.100.8"}
        assert " 198.51.100.7 " in caplog.text


async def test_nobody_is_believed_whom_the_operator_does_not_name(
    client: Client, audit_file: Path
) -> None:
    await client("DELETE", JOB, headers={"X-Forwarded-For": "198.51.100.7"})
    assert [entry["remote"] for entry in audited(audit_file)] == ["127.0.0.1"]


class TestRate:
    @pytest.fixture
    def access(self) -> Access:
        return Access(rate=Rate(0.001, 5))

    async def test_requests_beyond_the_rate_are_told_when_to_come_again(self, client: Client) -> None:
        codes = [(await client("GET", "/alpha/version")).code for _ in range(8)]
        assert codes == [200] * 5 + [429] * 3


async def test_a_file_that_becomes_wrong_changes_nothing(
    client: Client, gateway: Gateway, file: Path, audit_file: Path
) -> None:
    good = file.read_text()
    try:
        file.write_text("[users.alice")
        gateway.reload()
        assert (await client("GET", LISTS[0], headers=bearer("admin"))).code == 404
        health = json.loads((await client("GET", "/health", headers=bearer("admin"))).body)
        assert "not TOML" in health["warnings"][0]
        audit_file.unlink()
        audit_file.mkdir()
        gateway.reload()
        health = json.loads((await client("GET", "/health", headers=bearer("admin"))).body)
        assert "the file opened before is written on" in health["warnings"][1]
        audit_file.rmdir()
        file.write_text("[users.alice]\n")
        gateway.reload()
        assert (await client("GET", LISTS[0], headers=bearer("admin"))).code == 401
        assert gateway.problems() == ()
    finally:
        file.write_text(good)
