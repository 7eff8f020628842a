"""Data processing jobs, of which there are no types yet."""

from __future__ import annotations

from gateway.api.http import Answer
from gateway.api.sahara.routing import Asked, route


async def list_job_types(asked: Asked) -> Answer:
    return Answer({"job_types": []})


ROUTES = (
    route(
        "GET",
        "/job-types",
        list_job_types,
        "The types of jobs that can be run: none",
        "SaharaJobTypes",
        query=("type", "plugin", "version", "hints"),
    ),
)
