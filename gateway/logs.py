"""The files of a task's sandbox, read from its agent over HTTP (Mesos's /files endpoints)."""

from __future__ import annotations

import json
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httputil import url_concat

from framework.model.errors import Unavailable
from gateway.errors import UpstreamFailed

# Mesos 1.11 reads at most 16 pages at once.
CHUNK = 65536


class AgentFiles:
    """Reads files of agents; at most ``connections`` at a time, each answer within ``timeout`` s."""

    def __init__(self, connections: int = 64, timeout: float = 10.0) -> None:
        self._connections = connections
        self._defaults = {
            "connect_timeout": timeout,
            "request_timeout": timeout,
            "follow_redirects": False,
        }
        self._made: AsyncHTTPClient | None = None

    @property
    def _client(self) -> AsyncHTTPClient:
        # It belongs to the event loop, which need not run yet when this object is made.
        if self._made is None:
            self._made = AsyncHTTPClient(
                force_instance=True, max_clients=self._connections, defaults=self._defaults
            )
        return self._made

    def close(self) -> None:
        """To be called on the event loop."""
        if self._made is not None:
            self._made.close()
            self._made = None

    async def size(self, agent: str, path: str) -> int | None:
        """Returns the size of a file in bytes, None if there is no such file.

        Offset -1 asks for it (recording ``agent.files_read_offset_minus1``).
        """
        answer = await self._get(agent, "/files/read", {"path": path, "offset": "-1"})
        return None if answer is None else int(answer["offset"])

    async def read(self, agent: str, path: str, offset: int, length: int) -> bytes:
        """Returns at most ``length`` bytes from ``offset``; none past the end, or without the file.

        Mesos writes the bytes of a file into JSON as they are, UTF-8 or not.
        """
        wanted = {"path": path, "offset": str(offset), "length": str(min(length, CHUNK))}
        answer = await self._get(agent, "/files/read", wanted)
        if answer is None:
            return b""
        return str(answer["data"]).encode("utf-8", "surrogateescape")

    async def names(self, agent: str, directory: str) -> list[str] | None:
        """Returns the names in a directory, None if there is no such directory."""
        answer = await self._get(agent, "/files/browse", {"path": directory})
        return None if answer is None else [str(e["path"]).rpartition("/")[2] for e in answer]

    async def _get(self, agent: str, endpoint: str, query: dict[str, str]) -> Any:
        url = url_concat(f"http://{agent}{endpoint}", query)
        try:
            response = await self._client.fetch(url, raise_error=False)
        except (OSError, HTTPClientError) as error:
            raise _no_answer(agent, error) from None
        if response.code == 404:
            return None
        if response.code == 599:
            raise _no_answer(agent, response.error)
        if response.code != 200:
            raise UpstreamFailed(f"the agent {agent} answers {response.code} to a request for a log")
        try:
            return json.loads(response.body.decode("utf-8", "surrogateescape"))
        except ValueError:
            raise UpstreamFailed(f"the agent {agent} answers a request for a log with no JSON") from None


def _no_answer(agent: str, error: BaseException | None) -> Unavailable:
    return Unavailable(f"the agent {agent}, which has the log, does not answer: {error}")
