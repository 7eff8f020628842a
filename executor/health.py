"""Health checks of a task: what is asked, and what follows from the answers."""

from __future__ import annotations

import http.client
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from executor.task import HealthCheckConfig, HttpHealthChecker

logger = logging.getLogger(__name__)

SNOOZE_FILE = ".healthchecksnooze"
_LONGEST_ANSWER = 64 * 1024
# Seconds; who asks for checks without a pause gets this one: a task is no load test.
_SHORTEST_INTERVAL = 0.1

# Seconds; a check of ports ends at the first that nobody listens on, so it is done within its interval.
_PORT_INTERVAL = 0.5
PORT_TIMEOUT = 0.4

Check = Callable[[], str | None]


class Verdict(StrEnum):
    """What is known of the health of a task."""

    UNDECIDED = "undecided"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


def _interval(config: HealthCheckConfig) -> float:
    return max(config.interval_secs, _SHORTEST_INTERVAL)


class HealthTracker:
    """Aurora's rule, without clock: answers in, a verdict out.

    The first ``ceil(initial_interval / interval)`` checks are grace. The task is HEALTHY (running)
    after ``min_consecutive_successes`` successes in a row, UNHEALTHY if these did not come within
    grace + max_consecutive_failures + min_consecutive_successes checks, or if more than
    ``max_consecutive_failures`` fail in a row after it was HEALTHY.
    """

    def __init__(self, config: HealthCheckConfig) -> None:
        grace = math.ceil(max(0.0, config.initial_interval_secs) / _interval(config))
        self._needed = max(1, config.min_consecutive_successes)
        self._tolerated = max(0, config.max_consecutive_failures)
        self._left = grace + self._tolerated + self._needed
        self._running = False
        self._successes = 0
        self._failures = 0

    def answered(self, ok: bool) -> Verdict:
        """Takes the answer of one check; returns what is known after it."""
        self._successes = self._successes + 1 if ok else 0
        self._failures = 0 if ok else self._failures + 1
        if not self._running:
            self._left -= 1
            if self._successes >= self._needed:
                self._running = True
            elif self._left < self._needed - self._successes:
                return Verdict.UNHEALTHY
        elif self._failures > self._tolerated:
            return Verdict.UNHEALTHY
        return Verdict.HEALTHY if self._running else Verdict.UNDECIDED


def ports_config(patience: float) -> HealthCheckConfig:
    """Returns how a node's ports are asked for: often, ``patience`` seconds long."""
    return HealthCheckConfig(
        initial_interval_secs=patience,
        interval_secs=_PORT_INTERVAL,
        max_consecutive_failures=0,
        timeout_secs=PORT_TIMEOUT,
    )


class HealthMonitor:
    """Asks again and again, on a thread of its own, until stopped or UNHEALTHY.

    ``changed`` gets each new verdict, with the last failure's sentence. While the file
    ``.healthchecksnooze`` lies in the sandbox nothing is asked.
    """

    def __init__(
        self,
        config: HealthCheckConfig,
        check: Check,
        sandbox: str,
        changed: Callable[[Verdict, str], None],
    ) -> None:
        self._config = config
        self._check = check
        self._snooze = os.path.join(sandbox, SNOOZE_FILE)
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        tracker = HealthTracker(self._config)
        last = Verdict.UNDECIDED
        while not self._stop.is_set():
            begun = time.monotonic()
            if not os.path.exists(self._snooze):
                trouble = self._check()
                if self._stop.is_set():
                    return
                verdict = tracker.answered(trouble is None)
                if verdict is not last:
                    self._changed(verdict, trouble or "")
                if verdict is Verdict.UNHEALTHY:
                    return
                last = verdict
            self._stop.wait(max(0.0, _interval(self._config) - (time.monotonic() - begun)))


def _body(answer: http.client.HTTPResponse, waiting: socket.socket, deadline: float) -> bytes:
    """Returns what the answer says; raises ``TimeoutError`` if it has no end before ``deadline``."""
    body = bytearray()
    while len(body) < _LONGEST_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        waiting.settimeout(left)
        chunk = answer.read1(_LONGEST_ANSWER - len(body))
        if not chunk:
            break
        body += chunk
    return bytes(body)


def http_check(checker: HttpHealthChecker, host: str, port: int, timeout: float) -> str | None:
    """GETs the endpoint; returns why the answer is not what was expected, None if it is.

    Redirects are not followed and proxies not used: only ``host`` is ever asked.
    """
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.connect()
        # The answer frees it of the connection, and it is what waits for the rest.
        waiting: socket.socket = connection.sock
        connection.request("GET", checker.endpoint)
        answer = connection.getresponse()
        body = _body(answer, waiting, deadline).decode("utf-8", "replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"GET {checker.endpoint} on port {port}: {error or type(error).__name__}"
    finally:
        connection.close()
    expected = checker.expected_response_code
    if answer.status != expected if expected else answer.status >= 400:
        wanted = expected or "less than 400"
        return f"GET {checker.endpoint} on port {port}: status {answer.status}, expected {wanted}"
    if checker.expected_response and body.lower() != checker.expected_response.strip().lower():
        return (
            f"GET {checker.endpoint} on port {port}: answer {body[:60]!r}, "
            f"expected {checker.expected_response!r}"
        )
    return None
