"""pymesos's executor driver, with its faults guarded.

What pymesos 0.3.15 does and this driver does not: it takes every executor for a checkpointing one,
waits up to 15 s before it subscribes again (a restarted agent gives up after 2), loses updates made
while disconnected, forgets what is unacknowledged, uses ``select()``, takes SIGINT over, interrupts the
main thread, and kills its own process group.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import signal
import threading
import time
import uuid
from base64 import b64decode, b64encode
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol

from executor.environment import ExecutorEnvironment
from executor.stream import Refused, StreamEnded, events
from executor.updates import UpdateLog
from executor.waker import Waker

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_CALL_TIMEOUT = 10.0
_RETRY_PAUSE = 0.5
# How long (seconds) an executor that ends waits with its last updates for an agent that has gone.
_NOBODY_LISTENS = 1.0


def _import_driver() -> Any:
    """Imports pymesos (on the main thread); SIGINT and logging are afterwards as they were before."""
    before = signal.getsignal(signal.SIGINT)
    module = importlib.import_module("pymesos.executor")
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)
    library = logging.getLogger("pymesos")
    for handler in list(library.handlers):
        library.removeHandler(handler)
    library.setLevel(logging.NOTSET)
    return module.MesosExecutorDriver


_PymesosDriver: Any = _import_driver()


class Handler(Protocol):
    """What the driver tells its executor; called on the driver's thread, must not block."""

    def launch(self, task: Json) -> None: ...

    def kill(self, task_id: str) -> None: ...

    def message(self, data: bytes) -> None: ...

    def shutdown(self, reason: str) -> None:
        """The agent wants the executor to end, or is gone for good: end all tasks, then exit."""


class ExecutorDriver(_PymesosDriver):
    """The connection of one executor to its agent.

    Status updates go through :meth:`send_update`, which never blocks and never loses one: it keeps
    the update in ``updates`` until the agent has acknowledged it, across disconnections.
    """

    def __init__(self, handler: Handler, environment: ExecutorEnvironment, updates: UpdateLog) -> None:
        # pymesos's constructor reads os.environ; what it takes from there is put right below.
        os.environ.setdefault("MESOS_AGENT_ENDPOINT", environment.agent_endpoint)
        os.environ.setdefault("MESOS_FRAMEWORK_ID", environment.framework_id)
        os.environ.setdefault("MESOS_EXECUTOR_ID", environment.executor_id)
        super().__init__(executor=None)
        self._conn: HTTPConnection | None = None
        self.executor_info: Json | None = None
        self.framework_info: Json | None = None
        self.framework_id = {"value": environment.framework_id}
        self.executor_id = {"value": environment.executor_id}
        self.checkpoint = environment.checkpoint
        self._master = environment.agent_endpoint
        self._handler = handler
        self._environment = environment
        self._log = updates
        self._waker = Waker()
        self._something_to_send = threading.Condition()
        self._subscribed = False
        self._stop = threading.Event()
        self._calls = threading.Lock()
        self._sender: threading.Thread | None = None

    # -- life --

    def start(self) -> None:
        self._started = True
        self._io_thread = threading.Thread(target=self._run, name="agent-stream", daemon=True)
        self._sender = threading.Thread(target=self._send_all, name="agent-updates", daemon=True)
        self._io_thread.start()
        self._sender.start()

    def stop(self) -> None:
        """Ends the connection; what is unacknowledged stays in the log."""
        with self._something_to_send:
            self._stop.set()
            self._subscribed = False
            self._something_to_send.notify_all()
        self._waker.wake()

    def join(self, timeout: float | None = None) -> None:
        for thread in (self._io_thread, self._sender):
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout)

    def close(self) -> None:
        """Stops, waits for the threads, frees the descriptors."""
        self.stop()
        self.join()
        self._drop_connection()
        self._waker.close()

    def drain(self, timeout: float) -> bool:
        """Waits up to ``timeout`` seconds for all acknowledgements; returns whether they have come.

        While there is no connection to the agent it waits for a second at most.
        """
        begun = time.monotonic()
        with self._something_to_send:
            while self._log.updates and not self._stop.is_set():
                longest = timeout if self._subscribed else min(timeout, _NOBODY_LISTENS)
                left = begun + longest - time.monotonic()
                if left <= 0:
                    return False
                self._something_to_send.wait(left)
        return not self._log.updates

    # -- the subscription --

    def gen_request(self) -> bytes:
        """The SUBSCRIBE call as bytes, with all that is unacknowledged."""
        tasks, updates = self._log.subscribing()
        call = {
            "type": "SUBSCRIBE",
            "framework_id": self.framework_id,
            "executor_id": self.executor_id,
            "subscribe": {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates},
        }
        body = json.dumps(call).encode()
        head = [
            "POST /api/v1/executor HTTP/1.1",
            f"Host: {self._environment.agent_endpoint}",
            "Content-Type: application/json",
            "Accept: application/json",
            "Connection: close",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self._authorization().items()),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def _run(self) -> None:
        """Subscribes, again and again, until stopped, refused for good, or alone for too long."""
        patience = self._environment.recovery_timeout
        lost_at = time.monotonic()
        ever = False
        while not self._stop.is_set():
            try:
                ended = self._subscribe_once()
            except Refused as error:
                ended = str(error)
                if error.is_final:
                    self._give_up(f"the agent does not know this executor any more: {error}")
                    return
            except (StreamEnded, OSError) as error:
                ended = str(error)
            if self._stop.is_set():
                return
            if self._subscribed:
                ever = True
                lost_at = time.monotonic()
                self._disconnected()
            logger.warning("no connection to the agent: %s", ended)
            if ever and not self.checkpoint:
                self._give_up(f"the agent is gone, and the framework does not checkpoint: {ended}")
                return
            if time.monotonic() - lost_at > patience:
                self._give_up(f"the agent has been gone for {patience:g} s: {ended}")
                return
            # A restarted agent waits 2 s (by default) for its executors: several tries fit in.
            self._waker.wait(self._environment.backoff_max * random.uniform(0.1, 0.4))

    def _subscribe_once(self) -> str:
        stream = events(self._environment.agent_endpoint, self.gen_request(), self._waker)
        try:
            for event in stream:
                if self._stop.is_set():
                    return "stopped"
                if event is not None:
                    self._guarded(event)
        finally:
            stream.close()
        return "the stream ended"

    def _guarded(self, event: Json) -> None:
        """Handles one event; one that cannot be handled must not end the others' subscription."""
        try:
            self.on_event(event)
        except Exception:
            logger.exception("cannot handle the agent's event %.500r", event)

    def _disconnected(self) -> None:
        with self._something_to_send:
            self._subscribed = False
            self._something_to_send.notify_all()
        self._drop_connection()

    def _give_up(self, reason: str) -> None:
        logger.error("%s", reason)
        self._handler.shutdown(reason)

    # -- events, by the names that pymesos dispatches to --

    def on_subscribed(self, info: Json) -> None:
        again = self.executor_info is not None
        self.executor_info = info.get("executor_info", {})
        self.framework_info = info.get("framework_info", {})
        logger.info("%s with agent %s", "subscribed again" if again else "subscribed", self._master)
        with self._something_to_send:
            self._subscribed = True
            self._something_to_send.notify_all()

    def on_launch(self, event: Json) -> None:
        task = event["task"]
        self._log.launched(task)
        self._handler.launch(task)

    def on_launch_group(self, event: Json) -> None:
        for task in event["task_group"]["tasks"]:
            self.on_launch({"task": task})

    def on_kill(self, event: Json) -> None:
        self._handler.kill(event["task_id"]["value"])

    def on_acknowledged(self, event: Json) -> None:
        self._log.acknowledged(event["task_id"]["value"], event["uuid"])
        with self._something_to_send:
            self._something_to_send.notify_all()

    def on_message(self, event: Json) -> None:
        self._handler.message(b64decode(event["data"]))

    def on_error(self, event: Json) -> None:
        self._give_up(f"the agent reports an error: {event.get('message', '')}")

    def on_shutdown(self) -> None:
        self._handler.shutdown("the agent asked the executor to shut down")

    # -- updates --

    def send_update(
        self, task_id: str, state: str, message: str = "", data: bytes = b"", **more: Any
    ) -> None:
        """Queues a status update; ``more`` are further fields of Mesos's TaskStatus (``reason``, …)."""
        status: Json = {
            "task_id": {"value": task_id},
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "timestamp": time.time(),
            "uuid": b64encode(uuid.uuid4().bytes).decode(),
            **more,
        }
        if message:
            status["message"] = message
        if data:
            status["data"] = b64encode(data).decode()
        self.sendStatusUpdate(status)

    def send_message(self, data: bytes) -> None:
        """Sends a framework message, once: if it cannot be delivered it is lost. Blocks meanwhile."""
        if not self._subscribed:
            return
        try:
            self.sendFrameworkMessage(b64encode(data).decode())
        except (OSError, HTTPException, RuntimeError) as error:
            logger.info("a message to the framework is lost: %s", error)

    def sendStatusUpdate(self, status: Json) -> None:  # noqa: N802 (pymesos's name)
        self._log.made(status)
        with self._something_to_send:
            self._something_to_send.notify_all()

    def _send_all(self) -> None:
        """Sends the updates in the order in which they were made, one at a time."""
        while not self._stop.is_set():
            with self._something_to_send:
                update = self._log.next_unsent() if self._subscribed else None
                if update is None:
                    if not self._stop.is_set():
                        self._something_to_send.wait()
                    continue
            self._send_one(*update)

    def _send_one(self, identity: str, update: Json) -> None:
        call = {
            "type": "UPDATE",
            "executor_id": self.executor_id,
            "framework_id": self.framework_id,
            "update": update,
        }
        try:
            status, text = self._call(call)
        except (OSError, HTTPException) as error:
            logger.warning("an update could not be sent: %s", error)
            self._pause()
            return
        if 200 <= status < 300:
            self._log.sent(identity)
        elif status == 400:
            # What Mesos cannot validate it will never accept, and it would hold back all others.
            logger.error("the agent refuses the update %s: %s", update, text)
            self._log.rejected(identity)
        else:
            logger.warning("the agent does not take an update now: HTTP %d %s", status, text)
            self._pause()

    def _pause(self) -> None:
        with self._something_to_send:
            if not self._stop.is_set():
                self._something_to_send.wait(_RETRY_PAUSE)

    def _call(self, body: Json) -> tuple[int, str]:
        """POSTs a call on the kept connection; returns the status and the text of the answer."""
        with self._calls:
            if self._conn is None:
                host, _, port = self._environment.agent_endpoint.rpartition(":")
                self._conn = HTTPConnection(host, int(port), timeout=_CALL_TIMEOUT)
            headers = {"Content-Type": "application/json", **self._authorization()}
            try:
                self._conn.request("POST", "/api/v1/executor", json.dumps(body).encode(), headers)
                answer = self._conn.getresponse()
                return answer.status, answer.read(65536).decode("utf-8", "replace")
            except (OSError, HTTPException):
                self._conn.close()
                self._conn = None
                raise

    def _send(self, body: Json, *_args: Any, **_kwargs: Any) -> Json:
        """What pymesos's own methods send through."""
        status, text = self._call(body)
        if not 200 <= status < 300:
            raise RuntimeError(f"the agent answered HTTP {status}: {text}")
        return {}

    def _drop_connection(self) -> None:
        with self._calls:
            if self._conn is not None:
                self._conn.close()
                self._conn = None

    def _authorization(self) -> dict[str, str]:
        token = self._environment.authentication_token
        return {"Authorization": f"Bearer {token}"} if token else {}
