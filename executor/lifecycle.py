"""How a task is asked to end before it is signalled: two HTTP endpoints, if it has the port."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping

import msgspec

from executor.task import Lifecycle

logger = logging.getLogger(__name__)

_TIMEOUT = 1.0


class Farewell(msgspec.Struct, frozen=True):
    """One POST to the task, and how long (seconds) it has to end after it was heard."""

    port: int
    endpoint: str
    wait: float


def farewells(lifecycle: Lifecycle | None, ports: Mapping[str, int]) -> tuple[Farewell, ...]:
    """Returns what is asked, in order; nothing if the task has no port of the lifecycle's name."""
    http_part = lifecycle.http if lifecycle is not None else None
    if http_part is None or http_part.port not in ports:
        return ()
    port = ports[http_part.port]
    return (
        Farewell(
            port, http_part.graceful_shutdown_endpoint, float(http_part.graceful_shutdown_wait_secs)
        ),
        Farewell(port, http_part.shutdown_endpoint, float(http_part.shutdown_wait_secs)),
    )


def ask(farewell: Farewell, host: str) -> bool:
    """POSTs; returns whether the task took it, which is when waiting makes sense."""
    connection = http.client.HTTPConnection(host, farewell.port, timeout=_TIMEOUT)
    try:
        connection.request("POST", farewell.endpoint, b"", {"Content-Length": "0"})
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        logger.info("POST %s on port %d: %s", farewell.endpoint, farewell.port, error)
        return False
    finally:
        connection.close()
    return status < 400
