"""Following the output of a process whose file is rotated, and that runs again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from framework.model.errors import NotFound, Unavailable
from gateway.api.alpha.instances import Tail

LOG = "/sandbox/.logs/talk"


class Files:
    """The files of an agent. ``afterwards`` happens once, as soon as a file has been read to its end."""

    def __init__(self, **files: bytes) -> None:
        self.files = {f"{LOG}/{run.removeprefix('run')}/stdout": data for run, data in files.items()}
        self.afterwards: Any = None

    async def size(self, agent: str, path: str) -> int | None:
        data = self.files.get(path)
        return None if data is None else len(data)

    async def read(self, agent: str, path: str, offset: int, length: int) -> bytes:
        data = self.files.get(path, b"")
        chunk = data[offset : offset + length]
        if offset + len(chunk) == len(data) and self.afterwards is not None:
            happens, self.afterwards = self.afterwards, None
            happens(self.files)
        return chunk

    async def names(self, agent: str, directory: str) -> list[str] | None:
        return sorted({path.split("/")[-2] for path in self.files if path.startswith(directory)})


def tail_of(files: Files) -> Tail:
    """A task that does not end: whenever it is asked for, the scheduler is away."""

    async def busy(*_: object) -> None:
        raise Unavailable("the scheduler is away")

    gateway: Any = SimpleNamespace(
        files=files,
        follow_secs=0.001,
        pool=SimpleNamespace(run=busy),
        operations=SimpleNamespace(job=None),
    )
    task: Any = SimpleNamespace(sandbox="/sandbox", agent_address="agent:5051", key=None)
    return Tail(gateway, task, "talk", "stdout", None)


async def followed(files: Files, enough: int, offset: int = 0, length: int = 2**62) -> bytes:
    """Returns what a follower gets until it has ``enough`` bytes."""
    got = b""
    async with asyncio.timeout(10):
        async for chunk in tail_of(files).read(offset, length, follow=True):
            got += chunk
            if len(got) >= enough:
                break
    return got


def rotate(files: dict[str, bytes], last: bytes, new: bytes) -> None:
    """What the executor does with a file that is full."""
    files[f"{LOG}/0/stdout.1"] = files[f"{LOG}/0/stdout"] + last
    files[f"{LOG}/0/stdout"] = new


@pytest.mark.gen_test
async def test_a_follower_loses_nothing_of_a_file_that_is_rotated() -> None:
    files = Files(run0=b"one two ")
    files.afterwards = lambda found: rotate(found, b"three ", b"four")
    assert await followed(files, 18) == b"one two three four"


@pytest.mark.gen_test
async def test_a_follower_gets_no_more_than_was_asked_for_across_a_rotation() -> None:
    files = Files(run0=b"one two ")
    files.afterwards = lambda found: rotate(found, b"three ", b"four")
    assert await followed(files, 2**62, 4, length=12) == b"two three fo"


@pytest.mark.gen_test
async def test_a_follower_waits_for_an_offset_that_is_not_there_yet() -> None:
    files = Files(run0=b"one")

    def grow() -> None:
        files.files[f"{LOG}/0/stdout"] += b" two"

    asyncio.get_running_loop().call_later(0.05, grow)
    assert await followed(files, 2, offset=5) == b"wo"


@pytest.mark.gen_test
async def test_a_follower_loses_no_last_words_of_a_run_that_another_one_follows() -> None:
    files = Files(run0=b"begin ")

    def next_run(found: dict[str, bytes]) -> None:
        found[f"{LOG}/0/stdout"] += b"end "
        found[f"{LOG}/1/stdout"] = b"again"

    files.afterwards = next_run
    assert await followed(files, 15) == b"begin end again"


@pytest.mark.gen_test
async def test_a_follower_is_told_that_the_agent_is_away_and_waits_for_a_log() -> None:
    class Away(Files):
        async def names(self, agent: str, directory: str) -> list[str] | None:
            raise Unavailable("the agent does not answer")

    for follow in (False, True):
        with pytest.raises(Unavailable, match="the agent does not answer"):
            await tail_of(Away()).begin(follow)
    await tail_of(Files()).begin(follow=True)
    with pytest.raises(NotFound, match="it has not started"):
        await tail_of(Files()).begin(follow=False)
