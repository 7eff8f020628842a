"""RecordIO as Mesos writes it, in whatever pieces it arrives."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.recordio import ProtocolError, RecordDecoder
from tests.framework.mesos.peer import Recording


def frame(*records: bytes) -> bytes:
    return b"".join(str(len(record)).encode() + b"\n" + record for record in records)


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50), max_size=60))
def test_any_split_gives_the_same_records(records: list[bytes], cuts: list[int]) -> None:
    data, decoder, found = frame(*records), RecordDecoder(), list[bytes]()
    for cut in cuts:
        found += decoder.feed(data[:cut])
        data = data[cut:]
    assert found + decoder.feed(data) == records


@pytest.mark.parametrize(
    "data", [b"x", b"-1\n", b"+3\nabc", b"\n", b"1 \nx", b"9" * 40, b"99999999999\n", b"<html>\n"]
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        RecordDecoder().feed(data + b" " * 20)


def test_recorded_lengths_are_right(shared: Path) -> None:
    line = next(line for line in Recording(shared, "02-launch-finish").lines if line["kind"] == "event")
    body = json.dumps(line["json"], separators=(",", ":")).encode()
    assert len(body) == line["record_length"]
    assert RecordDecoder().feed(frame(body)) == [body]


def test_an_event_of_ten_megabytes_takes_linear_time(shared: Path) -> None:
    """In pieces of 4 KiB, the worst a peer does, it costs little beside the parsing of its JSON."""
    offer = Recording(shared, "02-launch-finish").events("OFFERS")[0]["offers"]["offers"][0]
    event = {"type": "OFFERS", "offers": {"offers": [offer] * 14_000}}
    body = json.dumps(event, separators=(",", ":")).encode()
    assert len(body) > 10_000_000
    wire = frame(body)
    pieces = [wire[start : start + 4096] for start in range(0, len(wire), 4096)]

    def ours() -> float:
        began, decoder, records = time.thread_time(), RecordDecoder(), list[bytes]()
        for piece in pieces:
            records += decoder.feed(piece)
        msgspec.json.decode(records[0])
        return time.thread_time() - began

    def plain() -> float:
        began = time.thread_time()
        json.loads(body)
        return time.thread_time() - began

    # In turns, and the best of each: what the machine does beside is not what is measured.
    turns = [(ours(), plain()) for _ in range(5)]
    assert min(one for one, _ in turns) <= 2 * min(other for _, other in turns)
