"""The alpha API as its contract has it, in each of the four execution modes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from framework.service import SchedulerService
from tests.framework.cluster import Cluster
from tests.gateway.api.conftest import JOB, KEY, Client, config, errors

DONE = f'{{"status": "success", "key": "{KEY}", "count": 1, "job": "{KEY}"}}'.encode()
JSON = "application/json; charset=UTF-8"
pytestmark = pytest.mark.gen_test(timeout=120)
# So often it is looked whether something has come to pass, with pauses between: half a minute or more.
LOOKS = 1500


async def states(client: Client, wanted: dict[int, str]) -> dict[str, Any]:
    """The job, once its instances are in the wanted states."""
    for _ in range(LOOKS):
        response = await client("GET", JOB)
        if response.code == 200:
            body: dict[str, Any] = json.loads(response.body)
            if {i["instance"]: i["state"] for i in body["instances"]} == wanted:
                return body
        await asyncio.sleep(0.02)
    raise AssertionError(f"not {wanted}: {response.body!r}")


async def updated(client: Client) -> dict[str, Any]:
    """The job's update, once it has ended."""
    for _ in range(LOOKS):
        body = json.loads((await client("GET", JOB + "/update")).body)
        update: dict[str, Any] = body["update"]
        if not update["status"].startswith("ROLLING"):
            return update
        await asyncio.sleep(0.02)
    raise AssertionError(update)


async def test_the_version(client: Client) -> None:
    response = await client("GET", "/alpha/version")
    assert (response.code, response.body) == (200, b'{"status": "success", "version": "0.1"}')
    assert response.headers["Content-Type"] == JSON


async def test_the_life_of_a_job(client: Client, mesos: Cluster) -> None:
    created = await client("PUT", JOB, config(instances=3))
    assert (created.code, created.body) == (201, DONE)
    assert created.headers["Content-Type"] == JSON
    first = await states(client, {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"})

    listed = await client("GET", "/alpha/jobs/devcluster/www-data")
    assert listed.code == 200
    assert listed.body == (
        b'{"status": "success", "key": "devcluster/www-data", "count": 1, '
        b'"jobs": {"1": "%s"}}' % KEY.encode()
    )

    update = await client("PUT", JOB + "/update?shards=1", config(instances=3, command="sleep 2"))
    assert (update.code, update.body) == (202, DONE)
    assert (await updated(client))["status"] == "ROLLED_FORWARD"
    second = await states(client, {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"})
    assert changed(first, second) == {1}

    restart = await client("PUT", JOB + "/restart?shards=0")
    assert (restart.code, restart.body) == (202, DONE)
    # A restart watches its instance for half a minute: it is cancelled here.
    await replaced(client, second, 0)
    cancelled = await client("DELETE", JOB + "/update")
    assert (cancelled.code, cancelled.body) == (202, DONE)
    assert (await updated(client))["status"] == "ABORTED"

    killed = await client("DELETE", JOB + "?shards=2")
    assert (killed.code, killed.body) == (200, DONE)
    await states(client, {0: "RUNNING", 1: "RUNNING", 2: "KILLED"})
    killed = await client("DELETE", JOB)
    assert (killed.code, killed.body) == (200, DONE)
    await states(client, dict.fromkeys(range(3), "KILLED"))
    assert mesos.running == {}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[int]:
    ids = [{i["instance"]: i["task_id"] for i in body["instances"]} for body in (before, after)]
    return {number for number in ids[0] if ids[0][number] != ids[1][number]}


async def replaced(client: Client, before: dict[str, Any], instance: int) -> None:
    for _ in range(LOOKS):
        after = json.loads((await client("GET", JOB)).body)
        if changed(before, after) == {instance} and after["instances"][instance]["state"] == "RUNNING":
            return
        await asyncio.sleep(0.02)
    raise AssertionError(after)


async def test_a_list_of_nothing_is_a_success_with_404(client: Client) -> None:
    response = await client("GET", "/alpha/jobs/devcluster/nobody")
    assert response.code == 404
    assert response.body == (
        b'{"status": "success", "key": "devcluster/nobody", "count": 0, "jobs": {}}'
    )


async def test_both_spellings_and_a_trailing_slash_name_the_same_job(client: Client) -> None:
    created = await client("PUT", "/alpha/job/" + KEY, config())
    assert (created.code, created.body) == (201, DONE)
    for path in (JOB, JOB + "/", "/alpha/job/" + KEY, "/alpha/jobs/devcluster/www%2Ddata/prod/hello"):
        assert json.loads((await client("GET", path)).body)["key"] == KEY
    for path in ("/alpha/jobs/devcluster/www-data/", "/alpha/job/devcluster/www-data"):
        assert json.loads((await client("GET", path)).body)["key"] == "devcluster/www-data"


async def test_a_failure_has_the_failure_body(client: Client) -> None:
    await client("PUT", JOB, config())
    again = await client("PUT", JOB, config())
    assert again.code == 409
    body = json.loads(again.body)
    assert list(body) == ["status", "key", "count", "job", "errors"]
    assert (body["status"], body["key"], body["count"], body["job"]) == ("failure", KEY, 0, [])
    assert "already exists" in errors(again)[0]


async def test_a_failed_list_has_the_list_failure_body(client: Client) -> None:
    response = await client("GET", "/alpha/jobs/elsewhere/www-data")
    assert response.code == 404
    body = json.loads(response.body)
    assert list(body) == ["status", "key", "count", "jobs", "errors"]
    assert body["jobs"] == {}
    assert "devcluster" in errors(response)[0]


async def test_a_key_that_differs_from_the_url_is_refused(client: Client) -> None:
    response = await client("PUT", JOB.replace("hello", "other"), config())
    assert response.code == 400
    assert KEY in errors(response)[0]
    assert "prod/other" in errors(response)[0]


async def test_what_needs_a_job_says_that_there_is_none(client: Client) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "/update", config()),
        ("DELETE", "/update", None),
        ("GET", "/update", None),
        ("PUT", "/restart", None),
        ("GET", "/instances/0", None),
        ("GET", "/instances/0/logs", None),
    ):
        response = await client(method, JOB + path, body)
        assert response.code == 404, (method, path, response.body)
        assert KEY in errors(response)[0]


async def test_a_process_whose_output_is_in_no_file_says_why(client: Client) -> None:
    quiet = b"Process(name = 'quiet', cmdline = 'true', logger = Logger(destination = 'none')), "
    main = b"'sleep 5', logger = Logger(destination = 'console'))"
    body = config().replace(b"[Process", b"[" + quiet + b"Process").replace(b"'sleep 1')", main)
    created = await client("PUT", JOB, body)
    assert created.code == 201, created.body
    for query, where in (
        ("", "process 'main' has no log: its logger's destination is 'console'"),
        # A follower would wait in vain.
        ("?follow=true", "in the executor's own output"),
        ("?process=quiet", "its logger's destination is 'none', so what it writes is kept nowhere"),
    ):
        response = await client("GET", JOB + "/instances/0/logs" + query)
        assert response.code == 404
        assert where in errors(response)[0]


async def test_an_instance_that_does_not_exist_changes_nothing(
    client: Client, service: SchedulerService
) -> None:
    await client("PUT", JOB, config(instances=2))
    before = await states(client, {0: "RUNNING", 1: "RUNNING"})
    for method, path, body in (
        ("DELETE", "?shards=1,7", None),
        ("PUT", "/restart?shards=1,7", None),
        ("PUT", "/update?shards=1,7", config(command="sleep 9")),
    ):
        response = await client(method, JOB + path, body)
        assert response.code == 404, response.body
        assert "7" in errors(response)[0]
    after = await states(client, {0: "RUNNING", 1: "RUNNING"})
    assert changed(before, after) == set()
    assert service.query(lambda core: core.counts().updates).result(30) == 0


async def test_bindings_fill_names_in_and_the_caller_is_the_user(client: Client) -> None:
    body = config(command="run {{tag}}").replace(b"'www-data'", b"getpass.getuser()")
    body = b"import getpass\n" + body
    unbound = await client("PUT", JOB, body)
    assert unbound.code == 400
    assert "tag" in errors(unbound)[0]
    created = await client("PUT", JOB + "?bind=tag=v1%20=x", body)
    assert created.code == 201, created.body
    job = json.loads((await client("GET", JOB)).body)
    processes = job["configuration"]["executor_data"]["task"]["processes"]
    assert processes[0]["cmdline"] == "run v1 =x"
    assert job["created_by"] == "www-data"


async def test_basic_credentials_name_the_user(client: Client) -> None:
    created = await client("PUT", JOB, config(), auth_username="ann", auth_password="x")
    assert created.code == 201
    assert json.loads((await client("GET", JOB)).body)["created_by"] == "ann"


async def test_a_dry_run_tells_and_changes_nothing(client: Client) -> None:
    path = JOB + "?dry_run=true"
    planned = await client("PUT", path, config(instances=2))
    assert planned.code == 200
    body = json.loads(planned.body)
    assert body["plan"] == {"add": "0-1", "update": "", "remove": "", "unchanged": ""}
    assert (await client("GET", JOB)).code == 404

    await client("PUT", JOB, config(instances=2))
    before = await states(client, {0: "RUNNING", 1: "RUNNING"})
    assert (await client("PUT", path, config())).code == 409
    change = config(instances=3, command="sleep 7")
    planned = await client("PUT", JOB + "/update?dry_run=true", change)
    assert planned.code == 200
    body = json.loads(planned.body)
    assert body["plan"] == {"add": "2", "update": "0-1", "remove": "", "unchanged": ""}
    (group,) = (group for group in body["groups"] if group["action"] == "update")
    assert group["instances"] == "0-1"
    assert group["diff"] == [
        {"field": "task.processes[main].cmdline", "old": "sleep 1", "new": "sleep 7"}
    ]
    limited = await client("PUT", JOB + "/update?dry_run=true&shards=1", change)
    assert json.loads(limited.body)["plan"]["update"] == "1"
    assert changed(before, await states(client, {0: "RUNNING", 1: "RUNNING"})) == set()


async def test_one_job_with_all_there_is_to_know(client: Client) -> None:
    await client("PUT", JOB, config(instances=1, command="echo {{thermos.ports[http]}}"))
    job = await states(client, {0: "RUNNING"})
    assert job["configuration"]["resources"] == {
        "cpus": 0.1,
        "mem_mb": 16,
        "disk_mb": 16,
        "gpus": 0,
        "ports": ["http"],
        "data_disks": 0,
        "disk_names": [],
    }
    (instance,) = job["instances"]
    assert instance["host"] == "agent.example"
    assert 31000 <= instance["ports"]["http"] <= 31999
    assert instance["restarts"] == 0
    assert instance["configuration"] is None
    states_seen = [event["state"] for event in instance["history"]]
    assert states_seen == ["PENDING", "ASSIGNED", "RUNNING"]
    times = [event["at"] for event in instance["history"]]
    assert times == sorted(times)
    one = await client("GET", JOB + "/instances/0")
    body = json.loads(one.body)
    assert (body["status"], body["key"], body["instance"]) == ("success", KEY, instance)


async def test_why_an_instance_is_pending(client: Client) -> None:
    await client("PUT", JOB, config(instances=1).replace(b"cpu = 0.1", b"cpu = 640"))
    for _ in range(LOOKS):
        (instance,) = json.loads((await client("GET", JOB)).body)["instances"]
        # Before the first offer is there, that is the reason.
        if instance["pending"] and "no offers" not in instance["pending"][0]["reason"]:
            break
        await asyncio.sleep(0.02)
    assert instance["state"] == "PENDING"
    assert "cpus" in instance["pending"][0]["reason"]
    assert instance["pending"][0]["count"] == 1


async def test_pages_of_a_list(client: Client) -> None:
    names = [f"job{n}" for n in range(5)]
    for name in names:
        assert (await client("PUT", JOB.replace("hello", name), config(name))).code == 201
    whole = json.loads((await client("GET", "/alpha/jobs/devcluster/www-data")).body)
    keys = [f"devcluster/www-data/prod/{name}" for name in names]
    assert list(whole["jobs"].values()) == keys
    assert "next" not in whole

    seen: list[str] = []
    path = "/alpha/jobs/devcluster/www-data?limit=2"
    page = json.loads((await client("GET", path)).body)
    while True:
        assert list(page["jobs"]) == [str(n + 1) for n in range(page["count"])]
        seen += page["jobs"].values()
        if "next" not in page:
            break
        page = json.loads((await client("GET", f"{path}&marker={page['next']}")).body)
    assert seen == keys

    cluster = json.loads((await client("GET", "/alpha/jobs/devcluster")).body)
    assert (cluster["key"], list(cluster["jobs"].values())) == ("devcluster", keys)


async def test_a_wrong_method_is_405_with_what_is_allowed(client: Client) -> None:
    for method, path, allowed in (
        ("POST", "/alpha/version", "GET"),
        ("PUT", "/alpha/jobs/devcluster/www-data", "GET"),
        ("POST", JOB, "GET, PUT, DELETE"),
        ("GET", JOB + "/restart", "PUT"),
        ("OPTIONS", JOB + "/update", "GET, PUT, DELETE"),
        ("BREW", JOB, "GET, PUT, DELETE"),
    ):
        response = await client(method, path)
        assert (response.code, response.headers["Allow"]) == (405, allowed)
        assert method in errors(response)[0]
    # As any other method of what is not there.
    assert (await client("BREW", "/alpha/nothing")).code == 404
    head = await client("HEAD", "/alpha/version")
    assert (head.code, head.body) == (405, b"")


async def test_what_is_nowhere_is_404_in_json(client: Client) -> None:
    for path in ("/alpha", "/alpha/nothing", "/alpha/jobs", "/alpha/jobs/a/b/c", JOB + "/more"):
        response = await client("GET", path)
        assert response.code == 404
        assert response.headers["Content-Type"] == JSON
        assert path in errors(response)[0]


async def test_legacy_status_answers_500_to_every_failure(client: Client, gateway: Any) -> None:
    gateway.legacy_status = True
    missing = await client("DELETE", JOB)
    assert missing.code == 500
    assert list(json.loads(missing.body)) == ["status", "key", "count", "job", "errors"]
    assert (await client("PUT", JOB, b"jobs = [")).code == 500
    # What was no failure of a job had its own status then, too.
    assert (await client("GET", "/alpha/jobs/devcluster/nobody")).code == 404
    assert (await client("POST", JOB)).code == 405
