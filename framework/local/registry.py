"""What the master remembers over a restart: frameworks, those that were removed, and agents.

One JSON file, replaced whole and synced before the master acts on the change. (A real master with
``--registry=in_memory`` forgets all of it, recording 16; one with a replicated log remembers agents.)
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

Json = dict[str, Any]
_MAX_REMOVED = 10_000


class KnownFramework(msgspec.Struct):
    """A framework that may come back after a restart of the master."""

    info: Json
    registered_time: float


class KnownAgent(msgspec.Struct):
    """An agent that may come back after a restart of the master."""

    info: Json
    address: str
    port: int
    registered_time: float


class Contents(msgspec.Struct):
    """All that the master remembers; ``removed`` are the ids of frameworks that must not come back."""

    frameworks: dict[str, KnownFramework] = {}
    removed: list[str] = []
    agents: dict[str, KnownAgent] = {}


class Registry:
    """The file, and its contents in memory. Raises ``OSError`` where it cannot be kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.contents = self._load()
        self._removed = set(self.contents.removed)

    def _load(self) -> Contents:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Contents)
        except FileNotFoundError:
            return Contents()
        except msgspec.MsgspecError as error:
            raise OSError(f"{self._path} is not a registry of this release: {error}") from error

    def is_removed(self, framework_id: str) -> bool:
        return framework_id in self._removed

    def keep_framework(self, framework_id: str, info: Json, registered_time: float) -> None:
        known = KnownFramework(info, registered_time)
        if self.contents.frameworks.get(framework_id) != known:
            self.contents.frameworks[framework_id] = known
            self._save()

    def remove_framework(self, framework_id: str) -> None:
        self.contents.frameworks.pop(framework_id, None)
        if framework_id not in self._removed:
            self._removed.add(framework_id)
            self.contents.removed.append(framework_id)
            del self.contents.removed[:-_MAX_REMOVED]
        self._save()

    def keep_agent(self, agent_id: str, agent: KnownAgent) -> None:
        if self.contents.agents.get(agent_id) != agent:
            self.contents.agents[agent_id] = agent
            self._save()

    def remove_agent(self, agent_id: str) -> None:
        if self.contents.agents.pop(agent_id, None) is not None:
            self._save()

    def _save(self) -> None:
        replace_file(self._path, msgspec.json.encode(self.contents), sync=True)


def replace_file(path: Path, data: bytes, *, sync: bool = False, mode: int = 0o600) -> None:
    """Writes ``data`` so that a reader, now or after a crash, sees the old or the new file, whole."""
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
