"""POST /api/v1/scheduler: subscriptions and calls, checked in the order in which Mesos checks them."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import uuid
from typing import Any

from framework.local import validation
from framework.local.calls import SchedulerCalls
from framework.local.cluster import Framework
from framework.local.http import Answer, MesosHandler
from framework.local.master import Master
from framework.local.protobuf import Malformed, convert, parse_json
from framework.local.recordio import EventStream

log = logging.getLogger(__name__)

Json = dict[str, Any]
_STREAM_ID = "Mesos-Stream-Id"


class SchedulerSession:
    """A subscribed framework's stream; the other side of :class:`framework.local.cluster.Session`."""

    def __init__(self, master: Master, stream: EventStream) -> None:
        self.stream_id = str(uuid.uuid4())
        self.framework: Framework | None = None
        self._master = master
        self._stream = stream

    def open(self) -> None:
        self._stream.open({_STREAM_ID: self.stream_id})

    def send(self, event: Json) -> None:
        self._stream.send(event)
        if self.framework is not None:
            self.framework.count("events/" + event["type"].lower())

    def end(self) -> None:
        self._stream.end()

    def start_heartbeats(self, interval: float) -> None:
        self._stream.heartbeats(interval, at_once=True)

    def closed(self) -> None:
        if self.framework is not None:
            self._master.session_closed(self.framework, self)


class LeaderHandler(MesosHandler):
    """A handler of the master that only a leader answers itself (37)."""

    master: Master

    def initialize(self, master: Master) -> None:
        self.master = master

    def require_leader(self, path: str) -> None:
        """Raises 307 to the leader, or 503 if there is none; passes on the leader itself."""
        follow = self.master.config.follow
        if follow == "nobody":
            raise Answer(503, "No leader elected")
        if follow is not None:
            raise Answer(307, headers={"Location": f"//{follow}{path}"})


class SchedulerHandler(LeaderHandler):
    """One scheduler call."""

    allow = ("POST",)

    def initialize(self, master: Master, calls: SchedulerCalls | None = None) -> None:
        super().initialize(master)
        self.calls = calls or SchedulerCalls(master)

    def post(self) -> None:
        principal = self._authenticate()
        self.require_leader("/master/api/v1/scheduler")
        self.require_json()
        call = self._read(principal)
        if call["type"] == "SUBSCRIBE":
            self._subscribe(call)
            return
        framework = self._framework(call)
        self.set_status(self.calls(framework, call))

    def _authenticate(self) -> str | None:
        """Returns the principal, None without authentication; raises 401 (27)."""
        credentials = self.master.config.credentials
        if credentials is None:
            return None
        scheme, _, encoded = self.request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = secret = ""
        wanted = credentials.get(name, "")
        right = hmac.compare_digest(wanted.encode(), secret.encode())
        if scheme.lower() != "basic" or not wanted or not right:
            realm = 'Basic realm="mesos-master-scheduler"'
            raise Answer(401, "401 Unauthorized.", {"WWW-Authenticate": realm})
        return name

    def _read(self, principal: str | None) -> Json:
        try:
            call = convert(parse_json(self.request.body), "SchedulerCall")
        except Malformed as error:
            raise Answer(400, str(error)) from None
        if problem := validation.scheduler_call(call, principal):
            raise Answer(400, f"Failed to validate scheduler::Call: {problem}")
        return call

    def _subscribe(self, call: Json) -> None:
        if _STREAM_ID in self.request.headers:
            raise Answer(400, f"Subscribe calls should not include the '{_STREAM_ID}' header")
        self.require_accept_json()
        session: SchedulerSession
        stream = EventStream(self.detach(), lambda _: session.closed())
        session = SchedulerSession(self.master, stream)
        session.open()
        body = call["subscribe"]
        framework = self.master.subscribe(
            body["framework_info"], body.get("suppressed_roles", []), session
        )
        if framework is not None:
            session.framework = framework
            session.start_heartbeats(self.master.config.times.heartbeat)
            if stream.ended:  # gone while it was being subscribed
                self.master.session_closed(framework, session)
            self.master.allocate()

    def _framework(self, call: Json) -> Framework:
        stream_id = self.request.headers.get(_STREAM_ID)
        if stream_id is None:
            raise Answer(400, f"All non-subscribe calls should include the '{_STREAM_ID}' header")
        framework_id = call["framework_id"]["value"]
        framework = self.master.frameworks.get(framework_id)
        if framework is None:
            raise Answer(400, "Framework cannot be found")
        if framework.session is None:
            raise Answer(403, "Framework is not subscribed")
        if framework.session.stream_id != stream_id:
            raise Answer(
                400,
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID "
                f"currently associated with framework ID {framework_id}",
            )
        return framework
