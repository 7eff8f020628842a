"""/files/browse, /files/read and /files/download of an agent: its sandboxes, and nothing else.

A path is that of a file on the agent, or ``/frameworks/<fid>/executors/<eid>/runs/<run|latest>/…``.
Whatever, after following links, does not lie in a sandbox is not found.
"""

from __future__ import annotations

import codecs
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tornado.web import MissingArgumentError

from framework.local.agent import Agent
from framework.local.http import Answer, MesosHandler

Json = dict[str, Any]
# Mesos reads at most 16 pages at once.
_READ_MAX = 16 * 4096
_CHUNK = 256 * 1024


def _keep_count(error: UnicodeError) -> tuple[str, int]:
    """One ``?`` per byte that is no UTF-8, so that the text's bytes are as many as were read."""
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error("framework.local.keep-count", _keep_count)


def read_text(data: bytes) -> str:
    """Returns ``data`` as text of as many bytes; a character cut at the end waits for the next read."""
    decoder = codecs.getincrementaldecoder("utf-8")("framework.local.keep-count")
    text = decoder.decode(data)
    return text or decoder.decode(b"", final=True)


def listing(path: Path) -> list[Json]:
    """Returns one entry per file of a directory, as Mesos describes them."""
    result = []
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        about = entry.stat(follow_symlinks=False)
        result.append(
            {
                "gid": _name(grp.getgrgid, about.st_gid),
                "mode": stat.filemode(about.st_mode),
                "mtime": float(int(about.st_mtime)),
                "nlink": about.st_nlink,
                "path": str(path / entry.name),
                "size": about.st_size,
                "uid": _name(pwd.getpwuid, about.st_uid),
            }
        )
    return result


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


class FilesHandler(MesosHandler):
    """What the three have in common."""

    def initialize(self, agent: Agent) -> None:
        self.agent = agent

    def wanted(self, kind: int) -> Path:
        """Returns the path that is asked for, of the right kind; raises 400 and 404."""
        try:
            asked = self.get_query_argument("path", strip=False)
        except MissingArgumentError:
            raise Answer(400, "Expecting 'path=value' in query.\n") from None
        path = resolve(self.agent, asked)
        if path is None or stat.S_IFMT(path.stat().st_mode) != kind:
            raise Answer(404)
        return path

    def number(self, name: str) -> int | None:
        text = self.get_query_argument(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise Answer(
                400, f"Failed to parse {name}: Failed to convert '{text}' to number.\n"
            ) from None


def resolve(agent: Agent, asked: str) -> Path | None:
    """Returns the real path of what is asked for, None unless it is there and in a sandbox."""
    if "\0" in asked or agent.id is None:
        return None
    root = Path(os.path.realpath(agent.root / "slaves"))
    path = Path(asked)
    if asked.startswith("/frameworks/"):
        path = root / agent.id / asked.lstrip("/")
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if root not in real.parents:
        return None
    # slaves/<id>/frameworks/<fid>/executors/<eid>/runs/<run>: all below a run is its sandbox.
    return real if len(real.relative_to(root).parts) >= 7 else None


class Browse(FilesHandler):
    """``/files/browse``: what is in a directory."""

    def get(self) -> None:
        self.reply_json(listing(self.wanted(stat.S_IFDIR)))


class Read(FilesHandler):
    """``offset`` -1 (or none) asks for the size; ``length`` bytes from ``offset`` otherwise."""

    def get(self) -> None:
        path = self.wanted(stat.S_IFREG)
        offset, length = self.number("offset"), self.number("length")
        if length is not None and length < -1:
            raise Answer(400, f"Negative length provided: {length}.\n")
        if offset is None or offset == -1:
            self.reply_json({"data": "", "offset": path.stat().st_size})
            return
        if offset < -1:
            raise Answer(400, f"Negative offset provided: {offset}.\n")
        size = _READ_MAX if length in {None, -1} else min(length or 0, _READ_MAX)
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        self.reply_json({"data": read_text(data), "offset": offset})


class Download(FilesHandler):
    """The whole file, as large as it is when it is asked for."""

    async def get(self) -> None:
        path = self.wanted(stat.S_IFREG)
        self.set_header("Content-Length", path.stat().st_size)
        self.set_header("Content-Disposition", f"attachment; filename={path.name}")
        self.set_header("Content-Type", "application/octet-stream")
        for chunk in _chunks(path, path.stat().st_size):
            self.write(chunk)
            await self.flush()


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while size > 0 and (data := file.read(min(size, _CHUNK))):
            size -= len(data)
            yield data
