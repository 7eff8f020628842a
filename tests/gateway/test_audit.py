"""The audit log: whole lines, and what is said when one cannot be had."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from gateway.audit import Entry, Lines, now


def entry(number: int) -> Entry:
    return Entry(now(), str(number), "alice", False, "127.0.0.1", "PUT", "/x", "/x", 201)


def numbers(path: Path) -> list[str]:
    """The entries that are whole, of a file whose other lines are torn."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line)["request_id"])
        except json.JSONDecodeError:
            found.append("torn")
    return found


def test_a_line_for_which_there_is_half_the_room_spoils_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    lines = Lines(str(path))
    lines.write(entry(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Like a disk that gets full, of which the first write gets what there is.
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, before[1]))
    try:
        lines.write(entry(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert lines.problem == f"the audit log {path} cannot be written: File too large"
    said = caplog.messages[-1]
    assert json.loads(said.partition("what it lacks is ")[2])["request_id"] == "2"
    lines.write(entry(3))
    assert lines.problem is None
    assert numbers(path) == ["1", "torn", "3"]
    lines.close()


def test_a_new_file_that_cannot_be_had_is_a_problem_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = Lines(str(path))
    path.rename(tmp_path / "audit.1")
    path.mkdir()
    lines.reopen()
    lines.write(entry(1))
    assert lines.problem == (
        f"--audit-log {path} cannot be written: Is a directory; the file opened before is written on"
    )
    path.rmdir()
    lines.reopen()
    lines.write(entry(2))
    assert lines.problem is None
    assert (numbers(tmp_path / "audit.1"), numbers(path)) == (["1"], ["2"])
    lines.close()
