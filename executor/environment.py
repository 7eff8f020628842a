"""What the agent tells its executor through the environment, as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-z]+)\s*")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}


class BadEnvironment(ValueError):
    """A variable that the agent always sets is missing or unreadable; the sentence names it."""


class ExecutorEnvironment(msgspec.Struct, frozen=True):
    """Where this executor runs, and for whom. Times in seconds.

    ``agent_endpoint`` is ``host:port``. ``directory`` is the executor's sandbox, its working
    directory. ``recovery_timeout`` bounds how long a checkpointing executor waits for a lost agent.
    """

    agent_endpoint: str
    framework_id: str
    executor_id: str
    agent_id: str
    directory: str
    checkpoint: bool = False
    shutdown_grace: float = 5.0
    recovery_timeout: float = 900.0
    backoff_max: float = 2.0
    authentication_token: str = ""

    @property
    def run_id(self) -> str:
        """The run of the executor that this is: the last part of ``…/executors/E/runs/R``."""
        return self.directory.rstrip("/").rpartition("/")[2]


def parse_duration(text: str) -> float:
    """Returns the seconds of a Mesos duration (``15mins``, ``2secs``); raises ``ValueError``."""
    match = _DURATION.fullmatch(text)
    if match is None or match.group(2) not in _UNITS:
        raise ValueError(f"{text!r} is not a duration; write a number and one of {', '.join(_UNITS)}")
    return float(match.group(1)) * _UNITS[match.group(2)]


def parse_flag(text: str) -> bool:
    """Reads Mesos's ``0``/``1``; the words that its flags know are understood, too."""
    return text.strip().lower() in {"1", "true", "yes", "on"}


def parse_environment(env: Mapping[str, str]) -> ExecutorEnvironment:
    """Reads the variables that Mesos 1.11 sets for an executor; raises :class:`BadEnvironment`."""

    def required(name: str) -> str:
        value = env.get(name, "")
        if not value:
            raise BadEnvironment(f"{name} is not set: the executor is started by a Mesos agent")
        return value

    def seconds(name: str, default: float) -> float:
        try:
            return parse_duration(env[name]) if env.get(name) else default
        except ValueError as error:
            raise BadEnvironment(f"{name}: {error}") from None

    endpoint = required("MESOS_AGENT_ENDPOINT")
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise BadEnvironment(f"MESOS_AGENT_ENDPOINT is {endpoint!r}, it should be host:port")
    return ExecutorEnvironment(
        agent_endpoint=endpoint,
        framework_id=required("MESOS_FRAMEWORK_ID"),
        executor_id=required("MESOS_EXECUTOR_ID"),
        agent_id=env.get("MESOS_SLAVE_ID", ""),
        directory=env.get("MESOS_SANDBOX") or required("MESOS_DIRECTORY"),
        checkpoint=parse_flag(env.get("MESOS_CHECKPOINT", "0")),
        shutdown_grace=seconds("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", 5.0),
        recovery_timeout=seconds("MESOS_RECOVERY_TIMEOUT", 900.0),
        backoff_max=seconds("MESOS_SUBSCRIPTION_BACKOFF_MAX", 2.0),
        authentication_token=env.get("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", ""),
    )
