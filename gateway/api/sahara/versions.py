"""The document of versions, which clients look for what they speak in."""

from __future__ import annotations

from gateway.api.http import Answer, Call, Route
from gateway.api.sahara.routing import failed

_VERSIONS = (("v1.0", "SUPPORTED"), ("v1.1", "CURRENT"))


async def list_api_versions(call: Call) -> Answer:
    versions = [
        {"id": name, "status": status, "links": [{"rel": "self", "href": f"{call.base}/{name}/"}]}
        for name, status in _VERSIONS
    ]
    return Answer({"versions": versions}, status=300)


ROUTES = (
    Route(
        "GET",
        "/",
        list_api_versions,
        "The versions of the API of data clusters",
        failed,
        kind="open",
        local=True,
        answers=((300, "SaharaVersions"),),
        failures="SaharaFailure",
    ),
)
