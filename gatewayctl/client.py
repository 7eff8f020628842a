"""The gateway's API as calls: what it refuses is an exception with an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

API = "/bigdata/api/v1"
NETWORKS = "/resources/networks/v1"

# Exit codes; 2 is a wrong command line, as everywhere.
REFUSED, MISSING, DENIED, CONFLICT, UNREACHABLE, FAILED, LATE = 1, 3, 4, 5, 6, 7, 8
_BY_STATUS = {401: DENIED, 403: DENIED, 404: MISSING, 409: CONFLICT, 429: UNREACHABLE, 503: UNREACHABLE}


class Failure(Exception):
    """A sentence for the user, and the exit code."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """Calls the gateway at ``url``; ``token`` travels in X-Auth-Token. ``timeout`` in seconds."""

    def __init__(self, url: str, token: str | None, timeout: float = 60.0) -> None:
        if token and not (token.isascii() and token.isprintable()):
            raise Failure("the token is none: it holds characters that no token has", 2)
        headers = {"X-Auth-Token": token} if token else {}
        try:
            self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout)
        except httpx.InvalidURL as error:
            raise Failure(f"{url!r} is not the URL of a gateway: {error}", 2) from None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        content_type: str = "application/json",
        params: dict[str, str | int] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Returns the answer; raises :class:`Failure` for whatever is no success.

        ``body`` is sent as JSON, ``content`` as it is. A redirect is an answer, too.
        """
        if content is None and body is not None:
            content = json.dumps(body).encode()
        headers = {"Content-Type": content_type} if content is not None else {}
        patience = httpx.USE_CLIENT_DEFAULT if timeout is None else httpx.Timeout(timeout)
        try:
            answer = self._http.request(
                method, path, content=content, headers=headers, params=params, timeout=patience
            )
        except httpx.UnsupportedProtocol as error:
            raise Failure(f"the URL of the gateway is wrong: {error}", 2) from None
        except httpx.HTTPError as error:
            raise Failure(
                f"the gateway at {self._http.base_url} does not answer: {error}", UNREACHABLE
            ) from None
        return _checked(answer)

    def json(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Returns the JSON of the answer."""
        answer = self.call(method, path, body, **more)
        try:
            return answer.json()
        except ValueError:
            raise Failure(f"{method} {path}: the answer is not JSON: is this a gateway?") from None

    def stream(self, path: str, params: dict[str, str | int]) -> Iterator[dict[str, Any]]:
        """Yields the data of server-sent events until the server ends them."""
        headers = {"Accept": "text/event-stream"}
        quiet = httpx.Timeout(30.0, read=120.0)
        try:
            with self._http.stream("GET", path, params=params, headers=headers, timeout=quiet) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    _checked(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            raise Failure(f"the stream of events broke off: {error}", UNREACHABLE) from None

    def close(self) -> None:
        self._http.close()


def segment(name: str) -> str:
    """Returns a name as a part of a path; raises :class:`Failure` for what would be another path."""
    if name in ("", ".", ".."):
        raise Failure(f"{name!r} is not a name", 2)
    return quote(name, safe="")


def _checked(answer: httpx.Response) -> httpx.Response:
    status = answer.status_code
    if status < 400:
        return answer
    raise Failure(_sentence(answer), _BY_STATUS.get(status, REFUSED))


def _sentence(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return f"{answer.status_code} {answer.reason_phrase}"
    if "message" in body:
        return str(body["message"])
    return "; ".join(str(sentence) for sentence in body.get("errors", [])) or str(answer.status_code)
