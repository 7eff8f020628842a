"""Plays a recorded scenario against a local Mesos and compares what comes back.

The test plays both the scheduler and the executor, with the recorded requests. Ids of the recording
stand for those of the live cluster; which for which is learned as answers and events are compared.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.framework.local.clusters import until
from tests.framework.local.wire import ME, PATIENCE, RESOURCES, Answer, Connection, Stream

Json = dict[str, Any]

# Values that differ from run to run: compared by type only. A path is the dotted way to a value.
VOLATILE = re.compile(
    r"(^|\.)(timestamp|nanoseconds|executor_pid|build_date|build_time|build_user|git_sha|port|pid|start_time"
    r"|elected_time|leader|registered_time|reregistered_time|unregistered_time|mtime|heartbeat_interval_seconds)$"
)
# Where an id stands, that is the name of what changes from run to run.
IDS = re.compile(
    r"(^|\.)(value|id|uuid|mesos-stream-id|slave_id|framework_id|executor_id|container|container_id|directory|path)$"
)
EXECUTOR = "while [ ! -e exit ]; do sleep 0.02; done; exit $(cat exit)"


class Difference(AssertionError):
    """The live answer is not like the recorded one."""


class Names:
    """What recorded ids and texts are called in the live cluster."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        # The recorded framework's user is whoever plays it.
        self._ids: dict[str, str] = {"root": ME}
        self._texts = texts or {}

    def learn(self, recorded: str, live: str) -> bool:
        """Takes ``live`` as the name of ``recorded``; False if it is known by another."""
        return self._ids.setdefault(recorded, live) == live

    def known(self, recorded: str) -> bool:
        return recorded in self._ids

    def live(self, text: str) -> str:
        """Returns a recorded text with the live cluster's names."""
        if text in self._ids:
            return self._ids[text]
        for recorded in sorted(self._ids, key=len, reverse=True):
            if len(recorded) > 8:
                text = text.replace(recorded, self._ids[recorded])
        for recorded, live in self._texts.items():
            text = text.replace(recorded, live)
        return text

    def live_json(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self.live_json(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.live_json(v) for v in value]
        return self.live(value) if isinstance(value, str) else value


def compare(recorded: Any, live: Any, names: Names, path: str = "") -> None:
    """Raises :class:`Difference` unless ``live`` has the recorded keys, types and constants."""
    if isinstance(recorded, dict):
        if not isinstance(live, dict) or recorded.keys() != live.keys():
            raise Difference(f"{path}: keys {sorted(recorded)} recorded, now {live!r}")
        for key, value in recorded.items():
            compare(value, live[key], names, f"{path}.{key}" if path else key)
    elif isinstance(recorded, list):
        if not isinstance(live, list) or len(recorded) != len(live):
            raise Difference(f"{path}: {recorded!r} recorded, now {live!r}")
        for index, (one, other) in enumerate(zip(recorded, live, strict=True)):
            compare(one, other, names, f"{path}[{index}]" if isinstance(one, list) else path)
    elif type(recorded) is not type(live):
        raise Difference(f"{path}: {recorded!r} recorded, now {live!r}")
    elif VOLATILE.search(path):
        return
    elif isinstance(recorded, str):
        _compare_text(recorded, live, names, path)
    elif recorded != live and not (isinstance(live, float) and abs(recorded - live) < 1e-6):
        raise Difference(f"{path}: {recorded!r} recorded, now {live!r}")


def _compare_text(recorded: str, live: str, names: Names, path: str) -> None:
    if names.known(recorded) or not IDS.search(path):
        if names.live(recorded) != live:
            raise Difference(f"{path}: {names.live(recorded)!r} expected, now {live!r}")
    elif recorded != live:
        names.learn(recorded, live)


def identity(event: Json) -> tuple[Any, ...]:
    """What tells an event from others of its kind."""
    kind = event["type"]
    if kind == "UPDATE":
        status = event["update"]["status"]
        return kind, status["task_id"]["value"], status["state"], status.get("reason")
    if kind == "OFFERS":
        return kind, json.dumps([_amounts(o["resources"]) for o in event["offers"]["offers"]])
    if kind == "ACKNOWLEDGED":
        return kind, event["acknowledged"]["uuid"]
    return (kind,)


def _amounts(resources: list[Json]) -> list[Any]:
    """Resources in one order and rounded, to be compared."""
    shown = [
        [
            r["name"],
            r.get("allocation_info"),
            round(r["scalar"]["value"], 3) if "scalar" in r else r["ranges"],
        ]
        for r in resources
    ]
    return sorted(shown, key=str)


class Replay:
    """One scenario. ``accepts`` are the requests that the recording leaves out, in their order.

    ``notes``: what to do at a note that holds this text. ``before``: what to do before the first request
    of a connection. ``executor_exits``: exit statuses of executors
    whose connection the recording closes.
    """

    def __init__(
        self,
        recording: Path,
        master: str,
        executor_address: Callable[[], str],
        sandbox: Callable[[str], Path],
        *,
        accepts: list[Callable[[Replay], Json]] | None = None,
        notes: dict[str, Callable[[Replay], None]] | None = None,
        before: dict[tuple[str, int], Callable[[Replay], None]] | None = None,
        executor_exits: dict[str, int] | None = None,
        texts: dict[str, str] | None = None,
        skip: Callable[[Json], bool] = lambda entry: False,
    ) -> None:
        self.entries = _with_accepts([json.loads(line) for line in recording.read_text().splitlines()])
        self.names = Names(texts)
        self.master = master
        self._executor_address = executor_address
        self._sandbox = sandbox
        self._accepts = list(accepts or [])
        self._notes = notes or {}
        self._before = before or {}
        self._exits = executor_exits or {}
        self._skip = skip
        self.calls: dict[tuple[str, int], Connection] = {}
        self.streams: dict[tuple[str, int], Stream] = {}
        self._taken: dict[tuple[str, int], set[int]] = {}
        self._answers: dict[tuple[str, int], Answer | Stream] = {}
        self._executors: dict[tuple[str, int], str] = {}
        self.offers: list[Json] = []
        self.stream_id = ""
        self.framework_id = ""
        self.extra: list[Json] = []
        self.launched: set[str] = set()

    def run(self) -> None:
        """Plays it to the end; raises :class:`Difference`, ``AssertionError`` for what does not come."""
        try:
            for position, entry in enumerate(self.entries):
                if not self._skip(entry):
                    self._play(position, entry)
            self._check_nothing_more()
        finally:
            for one in (*self.calls.values(), *self.streams.values()):
                one.close()

    def _play(self, position: int, entry: Json) -> None:
        try:
            key = (entry.get("link", ""), entry.get("conn", 0))
            kind = entry["kind"]
            if kind == "note":
                for text, action in self._notes.items():
                    if text in entry["text"]:
                        action(self)
            elif kind == "request":
                self._request(key, entry)
            elif kind == "accept":
                self._accept(key)
            elif kind == "response":
                self._response(key, entry)
            elif kind == "event":
                self._event(key, entry)
            elif kind == "stream_end":
                if key in self.streams:
                    assert self.streams[key].wait_end() == "end"
            elif kind in {"close", "reset"} and entry["by"] == "client":
                self._close(position, key)
        except (AssertionError, OSError) as error:
            raise Difference(f"entry {position + 1}, {json.dumps(entry)[:600]}:\n{error}") from error

    def _address(self, link: str) -> str:
        return self._executor_address() if link == "executor-agent" else self.master

    def _request(self, key: tuple[str, int], entry: Json) -> None:
        self._before.pop(key, lambda _: None)(self)
        method, path, _ = entry["line"].split()
        drop = {"host", "content-length", "user-agent", "accept-encoding"}
        headers = {k: self.names.live(v) for k, v in entry["headers"] if k.lower() not in drop}
        if "json" in entry:
            body: Any = self.names.live_json(entry["json"])
            if body.get("type") == "SUBSCRIBE" if isinstance(body, dict) else False:
                self._subscribe(key, path, body, headers)
                return
        else:
            body = self.names.live(entry.get("text", "")).encode() if method != "GET" else None
        connection = self.calls.get(key) or Connection(self._address(key[0]))
        self.calls[key] = connection
        self._answers[key] = connection.request(method, path, body, headers)

    def _subscribe(self, key: tuple[str, int], path: str, body: Json, headers: dict[str, str]) -> None:
        executor_id = body.get("executor_id", {}).get("value", "")
        if executor_id in self.launched:
            until(
                lambda: (self._sandbox(executor_id) / "stderr").exists(), "the executor has been started"
            )
        stream = Stream(self._address(key[0]), path, body, headers)
        self.streams[key] = self._answers[key] = stream
        if key[0] == "executor-agent":
            self._executors[key] = executor_id
        elif stream.status == 200 and path.endswith("/scheduler"):
            self.stream_id = stream.header("Mesos-Stream-Id") or ""

    def _accept(self, key: tuple[str, int]) -> None:
        assert self._accepts, "the recording leaves out a request that the test does not know"
        body = self._accepts.pop(0)(self)
        connection = self.calls.get(key) or Connection(self._address(key[0]))
        self.calls[key] = connection
        self._answers[key] = connection.request(
            "POST",
            "/api/v1/scheduler",
            body,
            {"Content-Type": "application/json", "Mesos-Stream-Id": self.stream_id},
        )

    def _response(self, key: tuple[str, int], entry: Json) -> None:
        answer = self._answers.pop(key)
        status = entry["line"].removeprefix("HTTP/1.1 ")
        assert f"{answer.status} {answer.reason}" == status, getattr(answer, "text", "")
        # Tornado says "Connection: close" to who asked for it; Mesos just closes. Names have no case.
        ignored = {"date", "content-length"} | ({"connection"} if answer.status != 200 else set())
        recorded = {k.lower(): v for k, v in entry["headers"] if k.lower() not in ignored}
        live = {k.lower(): v for k, v in answer.headers if k.lower() not in ignored}
        assert answer.header("Date")
        compare(recorded, live, self.names)
        if isinstance(answer, Answer):
            assert answer.header("Content-Length") == str(len(answer.body))
        if "text" in entry:
            assert answer.text == self.names.live(entry["text"])
        elif "json" in entry and isinstance(answer, Answer):
            compare(entry["json"], answer.json, self.names)

    def _event(self, key: tuple[str, int], entry: Json) -> None:
        recorded = entry["json"]
        stream = self.streams.get(key)
        if stream is None:
            return  # it crossed the end of the connection
        taken = self._taken.setdefault(key, set())
        wanted = identity(self.names.live_json(recorded))
        deadline = time.monotonic() + PATIENCE
        while True:
            over = stream.ended is not None
            for index, event in enumerate(list(stream.events)):
                if index not in taken and identity(event) == wanted:
                    taken.add(index)
                    self._compare_event(recorded, event)
                    return
            late = over or time.monotonic() > deadline
            assert not late, f"did not come ({stream.ended}); there are {stream.events}"
            time.sleep(0.005)

    def _compare_event(self, recorded: Json, live: Json) -> None:
        recorded, live = _sorted(recorded), _sorted(live)
        compare(recorded, live, self.names)
        if live["type"] == "OFFERS":
            self.offers = live["offers"]["offers"]
        elif live["type"] == "SUBSCRIBED" and "framework_id" in live["subscribed"]:
            self.framework_id = live["subscribed"]["framework_id"]["value"]

    def _close(self, position: int, key: tuple[str, int]) -> None:
        for held in (self.calls, self.streams):
            one = held.pop(key, None)  # type: ignore[attr-defined]
            if isinstance(one, Stream):
                self._leftovers(key, one)
            if one is not None:
                one.close()
        executor_id = self._executors.pop(key, None)
        again = any(
            e["kind"] == "request"
            and e.get("link") == "executor-agent"
            and "SUBSCRIBE" in json.dumps(e.get("json", ""))
            and e["json"]["executor_id"]["value"] == executor_id
            for e in self.entries[position:]
        )
        if executor_id is not None and not again and executor_id not in self._executors.values():
            self.end_executor(executor_id)

    def end_executor(self, executor_id: str) -> None:
        """Lets the process that stands for an executor exit."""
        target = self._sandbox(executor_id) / "exit"
        if target.parent.is_dir():
            target.with_name("exit.new").write_text(str(self._exits.get(executor_id, 0)))
            target.with_name("exit.new").rename(target)

    def _leftovers(self, key: tuple[str, int], stream: Stream) -> None:
        taken = self._taken.get(key, set())
        usual = {"HEARTBEAT", "OFFERS"}
        if key[0] == "executor-agent":
            usual |= {"SUBSCRIBED", "LAUNCH", "LAUNCH_GROUP"}  # the recordings leave these out
        self.extra += [
            e for i, e in enumerate(stream.events) if i not in taken and e["type"] not in usual
        ]

    def _check_nothing_more(self) -> None:
        for key, stream in self.streams.items():
            self._leftovers(key, stream)
        assert self.extra == [], f"more came than was recorded: {self.extra}"
        assert not self._accepts, "the recording needs fewer requests than the test has"


def _sorted(event: Json) -> Json:
    """Offers with their resources in one order."""
    if event["type"] != "OFFERS":
        return event
    offers = [
        {**o, "resources": sorted(o["resources"], key=lambda r: r["name"])}
        for o in event["offers"]["offers"]
    ]
    return {"type": "OFFERS", "offers": {"offers": offers}}


def _with_accepts(entries: list[Json]) -> list[Json]:
    """Marks where the recordings leave a request out: a response that nothing asked for.

    The request belongs after the newest of: an offer, a note, an answer on the same connection.
    """
    result: list[Json] = []
    waiting: dict[tuple[str, int], bool] = {}
    for entry in entries:
        key = (entry.get("link", ""), entry.get("conn", 0))
        if entry["kind"] == "request":
            waiting[key] = True
        elif entry["kind"] == "response":
            if not waiting.get(key):
                place = max(
                    i
                    for i, e in enumerate(result)
                    if e["kind"] == "note"
                    or (e["kind"] == "event" and e["json"]["type"] == "OFFERS")
                    or (e["kind"] == "response" and (e["link"], e["conn"]) == key)
                )
                result.insert(place + 1, {**entry, "kind": "accept"})
            waiting[key] = False
        result.append(entry)
    return result


def launch(
    *task_ids: str,
    executor_id: str | None = None,
    refuse: float = 0.2,
    cpus: float = 0.1,
    offer: Callable[[Replay], Json] = lambda r: r.offers[0],
    group: bool = False,
    command: str = EXECUTOR,
) -> Callable[[Replay], Json]:
    """Returns what makes an ACCEPT that launches tasks on an executor that the test plays."""

    def body(replay: Replay) -> Json:
        chosen = offer(replay)
        replay.launched.add(executor_id or "")
        agent_id = chosen["agent_id"]
        executor = {
            "executor_id": {"value": executor_id},
            "name": "minimal",
            "source": "test",
            "command": {"value": command},
            "resources": RESOURCES + ([_disk(32)] if group else []),
        }
        tasks = [
            {
                "task_id": {"value": t},
                "name": f"task {t}",
                "agent_id": agent_id,
                "data": "e30=",
                "labels": {"labels": [{"key": "owner", "value": "me"}]},
                "resources": [
                    {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
                    RESOURCES[1],
                ],
            }
            for t in task_ids
        ]
        if group:
            operation = {
                "type": "LAUNCH_GROUP",
                "launch_group": {"executor": executor, "task_group": {"tasks": tasks}},
            }
        else:
            operation = {
                "type": "LAUNCH",
                "launch": {"task_infos": [{**t, "executor": executor} for t in tasks]},
            }
        accept = {
            "offer_ids": [chosen["id"]],
            "operations": [operation],
            "filters": {"refuse_seconds": refuse},
        }
        return {"type": "ACCEPT", "framework_id": {"value": replay.framework_id}, "accept": accept}

    return body


def _disk(amount: float) -> Json:
    return {"name": "disk", "type": "SCALAR", "scalar": {"value": amount}}
