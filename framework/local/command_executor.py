"""The executor of a task that brings a command and no executor (recording 14).

Runs as a program of its own, ``python -I command_executor.py``, with nothing but the standard
library, and outlives its agent. It runs as who the agent is and starts the command as the task's user,
who need not be able to reach this interpreter.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

Json = dict[str, Any]
_PATH = "/api/v1/executor"
_DEFAULT_GRACE = 3.0
# As framework/local/durations.py writes them. "ns" comes last: "mins" ends so, too.
_UNITS = {
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "ms": 1e-3,
    "days": 86400.0,
    "weeks": 604800.0,
    "ns": 1e-9,
}


def seconds(text: str, default: float) -> float:
    """Returns the seconds of a duration as the agent writes it, ``default`` for no such text."""
    for unit, size in _UNITS.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * size
    return default


def _account(user: str) -> dict[str, Any]:
    """What Popen needs to start a command as this user: nothing for one's own; raises ``KeyError``."""
    if not user or os.geteuid() != 0 or pwd.getpwnam(user).pw_uid == 0:
        return {}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


class CommandExecutor:
    """One task, from its LAUNCH to the acknowledgement of its last update."""

    def __init__(self, environment: dict[str, str]) -> None:
        # Python itself adds this one in the C locale; it is not part of a task's environment.
        self._environment = {k: v for k, v in environment.items() if k != "LC_CTYPE"}
        self._endpoint = environment["MESOS_AGENT_ENDPOINT"]
        self._checkpoint = environment["MESOS_CHECKPOINT"] == "1"
        self._recovery = seconds(environment.get("MESOS_RECOVERY_TIMEOUT", ""), 900.0)
        self._who = {
            "framework_id": {"value": environment["MESOS_FRAMEWORK_ID"]},
            "executor_id": {"value": environment["MESOS_EXECUTOR_ID"]},
        }
        self._lock = threading.Lock()
        self._task: Json | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._sends_killing = False
        self._user = ""
        self._unacknowledged: dict[str, Json] = {}
        self._last: str | None = None
        self._over = threading.Event()

    def run(self) -> int:
        """Serves until the task is over and its last update acknowledged; returns the exit status."""
        lost_since: float | None = None
        while not self._over.is_set():
            try:
                self._subscription()
                lost_since = None
            except (OSError, http.client.HTTPException, ValueError):
                lost_since = lost_since or time.monotonic()
            if not self._checkpoint or (lost_since and time.monotonic() - lost_since > self._recovery):
                break
            self._over.wait(0.5)
        self._kill_group(signal.SIGKILL)
        return 0

    # -- the agent --

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._endpoint, timeout=30)

    def _subscription(self) -> None:
        with self._lock:
            updates = [{"status": s} for s in self._unacknowledged.values()]
            tasks = [self._task] if self._task is not None and updates else []
        body = {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}
        connection = self._connect()
        try:
            self._post(connection, {"type": "SUBSCRIBE", **self._who, "subscribe": body})
            response = connection.getresponse()
            if response.status != 200:
                raise OSError(f"SUBSCRIBE was answered {response.status}")
            assert connection.sock is None or connection.sock.settimeout(None) is None
            while not self._over.is_set():
                length = response.readline()
                if not length:
                    return
                self._event(json.loads(response.read(int(length))))
        finally:
            connection.close()

    def _post(self, connection: http.client.HTTPConnection, call: Json) -> None:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        connection.request("POST", _PATH, json.dumps(call).encode(), headers)

    def _update(self, state: str, message: str = "") -> None:
        assert self._task is not None
        status: Json = {"task_id": self._task["task_id"], "state": state, "source": "SOURCE_EXECUTOR"}
        status["timestamp"] = time.time()
        status["uuid"] = base64.b64encode(uuid.uuid4().bytes).decode()
        if message:
            status["message"] = message
        with self._lock:
            self._unacknowledged[status["uuid"]] = status
            if state in {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}:
                self._last = status["uuid"]
        connection = self._connect()
        # What does not arrive now goes out with the next SUBSCRIBE.
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._post(connection, {"type": "UPDATE", **self._who, "update": {"status": status}})
            connection.getresponse().read()
        connection.close()

    def _event(self, event: Json) -> None:
        kind = event["type"]
        if kind == "SUBSCRIBED":
            info = event["subscribed"]["framework_info"]
            self._user = info.get("user", "")
            self._sends_killing = {"type": "TASK_KILLING_STATE"} in info.get("capabilities", [])
        elif kind == "LAUNCH":
            self._launch(event["launch"]["task"])
        elif kind == "KILL":
            policy = event["kill"].get("kill_policy", {})
            self._kill(policy.get("grace_period", {}).get("nanoseconds", 0) / 1e9)
        elif kind == "ACKNOWLEDGED":
            with self._lock:
                self._unacknowledged.pop(event["acknowledged"]["uuid"], None)
                if event["acknowledged"]["uuid"] == self._last:
                    self._over.set()
        elif kind == "SHUTDOWN":
            self._shut_down()

    # -- the task --

    def _launch(self, task: Json) -> None:
        if self._task is not None:
            return
        self._task = task
        self._update("TASK_STARTING")
        command = task["command"]
        variables = command.get("environment", {}).get("variables", [])
        argv = command.get("arguments") or [command.get("value", "")]
        if command.get("shell", True):
            argv = ["/bin/sh", "-c", command.get("value", "")]
        try:
            self._child = subprocess.Popen(
                argv,
                executable=None if command.get("shell", True) else command.get("value"),
                env={**self._environment, **{v["name"]: v["value"] for v in variables}},
                process_group=0,
                **_account(command.get("user") or self._user),
            )
        except (OSError, KeyError) as error:
            self._update("TASK_FAILED", f"Failed to execute the command: {error}")
            return
        self._update("TASK_RUNNING")
        threading.Thread(target=self._reap, args=(self._child,), daemon=True).start()

    def _reap(self, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        self._kill_group(signal.SIGKILL)
        if code >= 0:
            message = f"Command exited with status {code}"
        else:
            message = f"Command terminated with signal {signal.strsignal(-code)}"
        ended = "TASK_FINISHED" if code == 0 else "TASK_FAILED"
        self._update("TASK_KILLED" if self._killed else ended, message)

    def _kill(self, grace: float) -> None:
        policy = (self._task or {}).get("kill_policy", {})
        grace = grace or policy.get("grace_period", {}).get("nanoseconds", 0) / 1e9 or _DEFAULT_GRACE
        if self._child is None or self._killed:
            return
        self._killed = True
        if self._sends_killing:
            self._update("TASK_KILLING")
        self._kill_group(signal.SIGTERM)
        timer = threading.Timer(grace, self._kill_group, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _shut_down(self) -> None:
        """The agent ends this executor: the task gets most of its grace period, then nothing is left."""
        if self._child is None:
            self._over.set()
            return
        grace = seconds(self._environment.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", ""), 5.0)
        self._kill(grace * 0.6)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(grace * 0.8)
        self._over.set()

    def _kill_group(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._child.pid, number)


if __name__ == "__main__":
    sys.exit(CommandExecutor(dict(os.environ)).run())
