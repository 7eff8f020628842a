"""Every endpoint with every kind of bad input: a 4xx in JSON with a sentence, and nothing done."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from typing import Any

import pytest

from framework.service import SchedulerService
from gateway.app import ROUTES, with_aliases
from gateway.context import Gateway
from tests.gateway.api.conftest import JOB, Client, config, errors
from tests.measured import Measured

pytestmark = pytest.mark.gen_test(timeout=60)

RESOURCES = [
    ("GET", "/alpha/jobs/{}/www-data"),
    ("GET", "/alpha/jobs/{}"),
    ("GET", "/alpha/jobs/devcluster/{}"),
    *(
        (method, path + suffix)
        for method, suffix in (
            ("GET", ""),
            ("PUT", ""),
            ("DELETE", ""),
            ("PUT", "/update"),
            ("DELETE", "/update"),
            ("GET", "/update"),
            ("PUT", "/restart"),
            ("GET", "/instances/0"),
            ("GET", "/instances/0/logs"),
        )
        for path in (
            "/alpha/jobs/{}/www-data/prod/hello",
            "/alpha/job/devcluster/{}/prod/hello",
            "/alpha/jobs/devcluster/www-data/{}/hello",
            "/alpha/jobs/devcluster/www-data/prod/{}",
        )
    ),
]
NAMES = {
    "dots": "..",
    "dot": ".",
    "encoded dots": "%2e%2e",
    "encoded dots and slash": "%2e%2e%2f",
    "slash": "a%2Fb",
    "backslash": "a%5Cb",
    "NUL": "a%00b",
    "line end": "a%0d%0ab",
    "tab": "a%09b",
    "space": "a%20b",
    "option": "--help",
    "encoded option": "%2D%2Dhelp",
    "not UTF-8": "%ff%fe",
    "right to left": "a%E2%80%AEb",
    "too long": "a" * 256,
    "twice encoded": "a%252Fb",
    "markup": "%3Cscript%3E",
    "no escape": "a%zzb",
}
BODIES: dict[str, bytes] = {
    "empty": b"",
    "spaces": b"  \n ",
    "truncated": b"jobs = [Job(",
    "truncated JSON": b'{"jobs": [{"name": "x"',
    "trailing garbage": b'{"jobs": []} x',
    "no jobs": b"jobs = []",
    "nested": b"[" * 10_000,
    "nested JSON": b'{"jobs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "large integer": b'{"jobs": [{"instances": ' + b"9" * 5000 + b"}]}",
    "NaN": b'{"jobs": [{"instances": NaN}]}',
    "twice the same key": b'{"jobs": [], "jobs": []}',
    "lone surrogate": b'{"jobs": [{"name": "\\ud800"}]}',
    "NUL": b"jobs = ['\0']",
    "BOM": b"\xef\xbb\xbf" + config().replace(b"prod", b"pr/od"),
    "UTF-16": config().decode().encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfd",
    "an array": b"[1, 2, 3]",
    "a number": b"7",
    "wrong types": config().replace(b"instances = 2", b"instances = {'a': 1}"),
    "no cpu": config().replace(b"cpu = 0.1", b"cpu = 0"),
    "negative cpu": config().replace(b"cpu = 0.1", b"cpu = -1"),
    "cpu without end": config().replace(b"cpu = 0.1", b"cpu = 1e999"),
    "instances beyond measure": config().replace(b"instances = 2", b"instances = 9223372036854775808"),
    "no instances": config().replace(b"instances = 2", b"instances = 0"),
    "unknown field": config().replace(b"instances = 2", b"instanzes = 2"),
    "a dangerous name": config().replace(b"name = 'hello'", b"name = '../x'"),
    "other key": config("other"),
    "an import": b"import subprocess\n" + config(),
    "dunder": b"jobs = [().__class__]",
    "a power": b"x = 9 ** 9 ** 9\njobs = []",
    "privileged": config(
        extra="container = Docker(image = 'x', parameters = "
        "[Parameter(name = 'privileged', value = 'true')]),"
    ),
    "docker socket": config(
        extra="container = Docker(image = 'x', volumes = [Volume("
        "container_path = '/s', host_path = '/var/run/docker.sock', mode = Mode('RW'))]),"
    ),
    "large": b"# " + b"x" * 100_000,
}
QUERIES = {
    "blank shards": "shards=",
    "spaces as shards": "shards=%20",
    "descending": "shards=5-3",
    "negative": "shards=-1",
    "no number": "shards=one",
    "no number after one": "shards=1,two",
    "open range": "shards=3-",
    "trailing comma": "shards=1,",
    "huge": "shards=0-999999999",
    "beyond": "shards=99999999999999999999",
    "repeated, one wrong": "shards=1&shards=x",
    "other digits": "shards=%D9%A3",
    "NUL": "shards=1%00",
    "not UTF-8": "shards=%ff",
    "misspelt": "shard=1",
    "unknown": "force=true",
    "binding without value": "bind=x",
    "binding without name": "bind==x",
    "many": "&".join(f"x{n}=1" for n in range(2000)),
}


@pytest.fixture
def mode() -> Any:
    """What is refused before it is executed is refused alike in every mode."""
    return "thread"


async def test_names(client: Client, measured: Measured) -> None:
    for method, pattern in RESOURCES:
        for kind, name in NAMES.items():
            response = await client(method, pattern.format(name), config() if method == "PUT" else None)
            assert response.code == 400, (kind, method, pattern, response.code, response.body)
            assert errors(response)
            measured("bad input: requests with bad names, refused", 1)


async def test_bodies(client: Client, service: SchedulerService, measured: Measured) -> None:
    await client("PUT", JOB, config())
    before = len(service.events_after(0))
    for path in (JOB.replace("/hello", "/other"), JOB + "/update"):
        for kind, body in BODIES.items():
            if kind == "other key" and "/other" in path:
                continue
            response = await client("PUT", path, body)
            assert 400 <= response.code < 500, (kind, path, response.code, response.body)
            assert errors(response)
            assert len(response.body) < 10_000
            measured("bad input: requests with bad bodies, refused", 1)
    quiet = [e.event for e in service.events_after(before) if e.event.kind != "task"]
    assert quiet == []


async def test_queries(client: Client, service: SchedulerService, measured: Measured) -> None:
    await client("PUT", JOB, config())
    for method, path in (("DELETE", JOB), ("PUT", JOB + "/restart"), ("PUT", JOB + "/update")):
        for kind, query in QUERIES.items():
            response = await client(method, f"{path}?{query}", config(command="sleep 5"))
            assert response.code == 400, (kind, method, path, response.code, response.body)
            assert errors(response)
            measured("bad input: requests with bad parameters, refused", 1)
    counts = service.query(lambda core: core.counts()).result(30)
    assert counts.updates == 0
    assert "KILLED" not in [state for state, count in counts.tasks.items() if count]


async def test_what_is_read_with_numbers(client: Client, measured: Measured) -> None:
    await client("PUT", JOB, config())
    logs = JOB + "/instances/0/logs"
    for path in (
        logs + "?stream=stdin",
        logs + "?offset=-1",
        logs + "?offset=x",
        logs + "?length=99999999999999999999",
        logs + "?follow=maybe",
        logs + "?run=latest",
        logs + "?offset=1&offset=2",
        JOB + "/instances/x",
        JOB + "/instances/-1",
        JOB + "/instances/1e3",
        JOB + "/instances/99999999999999999999",
        "/alpha/jobs/devcluster/www-data?limit=0",
        "/alpha/jobs/devcluster/www-data?limit=many",
        "/alpha/jobs/devcluster?marker=a&marker=b",
        "/alpha/events?after=x",
        "/alpha/events?after=-5",
        "/alpha/events?role=../x",
        "/alpha/events?job=a/b",
        "/alpha/events?rolle=x",
        "/health?lives",
        "/metrics?x=1",
        "/alpha/version?x",
    ):
        response = await client("GET", path)
        assert response.code == 400, (path, response.code, response.body)
        assert errors(response)
        measured("bad input: requests with bad numbers, refused", 1)
    missing = (logs + "?process=../../etc", logs + "?task=nope", JOB + "/instances/9")
    for path in missing:
        assert (await client("GET", path)).code == 404


async def test_headers(client: Client) -> None:
    for headers in (
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": "Basic Li4vLi46eA=="},  # ../..:x
    ):
        response = await client("PUT", JOB, config(), headers=headers)
        assert response.code == 400, (headers, response.body)
    for value in ("x", "Basic", "Bearer", "Bearer abc", "Basic " + "A" * 4000, " "):
        response = await client("DELETE", JOB, headers={"Authorization": value})
        assert response.code in (400, 404), (value, response.body)
    assert (await client("GET", "/alpha/events", headers={"Last-Event-ID": "x"})).code == 400
    zipped = await client("PUT", JOB, gzip.compress(config()), headers={"Content-Encoding": "gzip"})
    assert zipped.code == 415
    assert "gzip" in errors(zipped)[0]


async def test_pages_of_other_sites_change_nothing(client: Client, measured: Measured) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
        # A name that has been rebound to 127.0.0.1: the browser takes it for the same site.
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example", "Host": "evil.example"},
    ):
        for method in ("PUT", "DELETE"):
            response = await client(method, JOB, config(), headers=headers)
            assert response.code == 403, headers
            assert errors(response)
            measured("bad input: changes from pages of other sites, refused", 1)
    ours = {"Origin": "http://localhost:8888", "Sec-Fetch-Site": "same-origin"}
    assert (await client("PUT", JOB, config(), headers=ours)).code == 201


async def test_a_body_that_is_too_large_is_read_to_its_end_and_refused(
    client: Client, gateway: Gateway
) -> None:
    for method, path in (("PUT", JOB), ("DELETE", JOB), ("GET", "/alpha/version"), ("POST", JOB)):
        response = await client(method, path, b"x" * 3_000_000)
        assert response.code in (413, 405), (method, response.code)
        assert (response.code == 405) == (method == "POST")
        errors(response)
    exact = config() + b"#" * (gateway.max_body - len(config()))
    assert (await client("PUT", JOB, exact)).code == 201


# -- below HTTP -----------------------------------------------------------------------------------


async def raw(port: int, data: bytes, limit: float = 30.0) -> bytes:
    """What comes back for ``data``, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), limit)
    finally:
        writer.close()


def answer(data: bytes) -> tuple[int, Any]:
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /alpha/version HTTP/9.9\r\n\r\n",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"PUT %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        b"GET /alpha/version HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
    ],
)
async def test_malformed_http_is_400_in_json(
    http_server: Any, http_port: int, request_bytes: bytes, service: SchedulerService
) -> None:
    target = JOB.encode()
    code, body = answer(await raw(http_port, request_bytes.replace(b"%s", target)))
    assert code == 400
    assert body["errors"]
    assert service.query(lambda core: core.counts().jobs).result(30) == 0


async def test_headers_without_end_are_431(http_server: Any, http_port: int) -> None:
    line = b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
    writer.write(line[:70_000])
    code, body = answer(await asyncio.wait_for(reader.read(), 30))
    writer.close()
    assert code == 431
    assert body["errors"]


async def test_a_large_announcement_is_refused_before_the_body_is_sent(
    http_server: Any, http_port: int
) -> None:
    for length, expect in ((200_000, b"Expect: 100-continue\r\n"), (10**12, b"")):
        head = b"PUT %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n"
        code, body = answer(await raw(http_port, head % (JOB.encode(), expect, length)))
        assert code == 413
        assert "--max-body" in body["errors"][0]


async def test_slow_senders_disturb_nobody(client: Client, http_port: int) -> None:
    sockets = [socket.create_connection(("127.0.0.1", http_port)) for _ in range(100)]
    try:
        for one in sockets:
            one.sendall(b"PUT " + JOB.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Le")
        assert (await client("GET", "/alpha/version")).code == 200
        for one in sockets:
            # They are still waited for, each of them: the answer did not have to come after that.
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)
    finally:
        for one in sockets:
            one.close()


def test_every_route_is_covered_here() -> None:
    """A route that is new is to be tried with bad input, too."""
    tried = {pattern for _, pattern in RESOURCES}
    for route in with_aliases(ROUTES):
        if "{" in route.pattern and route.pattern.startswith("/alpha/jobs/{cluster}/{role}/"):
            suffix = route.pattern.partition("{name}")[2].replace("{instance}", "0")
            assert any(path.endswith("{}" + suffix) for path in tried), route.pattern
