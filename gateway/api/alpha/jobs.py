"""Jobs: list, read, create, kill, restart, update, cancel the update."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

from framework.model.errors import NotFound
from framework.model.jobs import JobKey, check_segment
from gateway.api.alpha import bodies, views
from gateway.api.http import JSON, Answer, Call, Route, json_text
from gateway.context import API_VERSION
from gateway.operations import Request

_MOST = 100_000


async def version(call: Call) -> Answer:
    return Answer({"status": "success", "version": API_VERSION})


# -- lists ----------------------------------------------------------------------------------------


async def list_role(call: Call, cluster: str, role: str) -> Answer:
    check_segment("cluster", cluster)
    check_segment("role", role)
    page = _page(call)
    return await call.run(
        lambda: page(f"{cluster}/{role}", call.gateway.operations.list_jobs(cluster, role))
    )


async def list_cluster(call: Call, cluster: str) -> Answer:
    check_segment("cluster", cluster)
    page, visible = _page(call), call.visible_roles()
    return await call.run(lambda: page(cluster, call.gateway.operations.list_cluster(cluster, visible)))


def _page(call: Call) -> Callable[[str, Sequence[str]], Answer]:
    """Returns what makes an answer of the page after ``marker`` of all jobs, sorted.

    Nothing found is a success with the status 404: so it always was. A long list is encoded in the
    pool, where it holds nobody up.
    """
    limit = call.query.integer("limit", _MOST, 1, _MOST)
    marker = call.query.one("marker")

    def answer(key: str, jobs: Sequence[str]) -> Answer:
        start = 0 if marker is None else bisect.bisect_right(jobs, marker)
        page = jobs[start : start + limit]
        following = page[-1] if start + limit < len(jobs) else None
        text = bodies.listing(key, tuple(page), following)
        return Answer(text, 200 if page else 404, JSON)

    return answer


def _encoded(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(json_text(body), status, JSON)


# -- one job --------------------------------------------------------------------------------------


async def read_job(call: Call, *segments: str) -> Answer:
    key, operations = JobKey.of(*segments), call.gateway.operations
    view = operations.glance(key)
    if view is not None:
        return _encoded(views.job(view))
    return await call.run(lambda: _encoded(views.job(operations.job(key))))


async def create_job(call: Call, *segments: str) -> Answer:
    request = _request(call, segments)
    if call.query.flag("dry_run"):
        result = await call.run(call.gateway.operations.plan, request, None, True)
        return Answer(views.dry_run(str(request.key), result))
    operations = call.gateway.operations
    await call.gateway.pool.settle(
        lambda: operations.begin_create(request, plainly=True),
        lambda: operations.begin_create(request),
        lambda: operations.create(request),
    )
    return Answer(bodies.done(str(request.key)), status=201)


async def kill_job(call: Call, *segments: str) -> Answer:
    request = _request(call, segments)
    await call.run(call.gateway.operations.kill, request, call.query.shards())
    return Answer(bodies.done(str(request.key)))


async def restart_job(call: Call, *segments: str) -> Answer:
    request = _request(call, segments)
    await call.run(call.gateway.operations.restart, request, call.query.shards())
    return Answer(bodies.done(str(request.key)), status=202)


# -- the update of a job --------------------------------------------------------------------------


async def read_update(call: Call, *segments: str) -> Answer:
    key = JobKey.of(*segments)
    view = await call.run(call.gateway.operations.job, key)
    if not view.updates:
        raise NotFound(f"job {key} has never been updated or restarted")
    return Answer({**bodies.done(str(key)), "update": views.update(view.updates[0])})


async def update_job(call: Call, *segments: str) -> Answer:
    request, shards = _request(call, segments), call.query.shards()
    if call.query.flag("dry_run"):
        result = await call.run(call.gateway.operations.plan, request, shards, False)
        return Answer(views.dry_run(str(request.key), result))
    await call.run(call.gateway.operations.update, request, shards)
    return Answer(bodies.done(str(request.key)), status=202)


async def cancel_update(call: Call, *segments: str) -> Answer:
    request = _request(call, segments)
    await call.run(call.gateway.operations.cancel_update, request)
    return Answer(bodies.done(str(request.key)), status=202)


def _request(call: Call, segments: Sequence[str]) -> Request:
    key = JobKey.of(*segments)
    return Request(key, call.body, call.query.bindings(), call.identity(key.role))


_JOB = "/alpha/jobs/{cluster}/{role}/{environment}/{name}"

ROUTES = (
    Route(
        "GET",
        "/alpha/version",
        version,
        "The version of this API",
        bodies.failed,
        kind="open",
        local=True,
        answers=((200, "Version"),),
    ),
    Route(
        "GET",
        "/alpha/jobs/{cluster}",
        list_cluster,
        "The jobs of all roles of a cluster",
        bodies.list_failed,
        query=("limit", "marker"),
        answers=((200, "Listing"), (404, "Listing")),
    ),
    Route(
        "GET",
        "/alpha/jobs/{cluster}/{role}",
        list_role,
        "The jobs of a role",
        bodies.list_failed,
        query=("limit", "marker"),
        answers=((200, "Listing"), (404, "Listing")),
    ),
    Route(
        "GET",
        _JOB,
        read_job,
        "One job: configuration, instances, update",
        bodies.job_failed,
        answers=((200, "Job"),),
    ),
    Route(
        "PUT",
        _JOB,
        create_job,
        "Create a job from a configuration (.aurora or JSON)",
        bodies.job_failed,
        query=("bind", "dry_run"),
        body=True,
        kind="create",
        answers=((200, "DryRun"), (201, "Done")),
    ),
    Route(
        "DELETE",
        _JOB,
        kill_job,
        "Kill a job, or some of its instances",
        bodies.job_failed,
        query=("shards", "bind"),
        body=True,
        answers=((200, "Done"),),
    ),
    Route(
        "PUT",
        _JOB + "/restart",
        restart_job,
        "Restart a job, or some of its instances",
        bodies.job_failed,
        query=("shards", "bind"),
        body=True,
        answers=((202, "Done"),),
    ),
    Route(
        "GET",
        _JOB + "/update",
        read_update,
        "The active or the last update",
        bodies.job_failed,
        answers=((200, "OneUpdate"),),
    ),
    Route(
        "PUT",
        _JOB + "/update",
        update_job,
        "Update a job to a configuration, or some of its instances",
        bodies.job_failed,
        query=("shards", "bind", "dry_run"),
        body=True,
        answers=((200, "DryRun"), (202, "Done")),
    ),
    Route(
        "DELETE",
        _JOB + "/update",
        cancel_update,
        "Cancel the update where it stands",
        bodies.job_failed,
        query=("bind",),
        body=True,
        answers=((202, "Done"),),
    ),
)
