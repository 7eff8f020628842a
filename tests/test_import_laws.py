"""The import laws of docs/architecture.md, read from every module's syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("gateway", "gatewayctl", "framework", "executor")
MODULES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))

_CORE_VALUES = ("framework.model", "framework.core.messages")
# What framework and executor understand of each other.
_SHARED = ("executor.task", "executor.messages")
# place -> what of ours it may import besides itself; the longest place that fits a module counts.
OWN: dict[str, tuple[str, ...]] = {
    "executor/": (),
    "executor/task.py": (),
    "executor/messages.py": (),
    "executor/recordio.py": (),
    "executor/waker.py": (),
    "executor/networks.py": ("executor.task",),
    "executor/disks.py": ("executor.task",),
    "executor/node.py": ("executor.task", "executor.networks"),
    "executor/plan.py": ("executor.task",),
    "executor/remote.py": ("executor.calls", "executor.messages", "executor.runtimes"),
    "framework/": _SHARED,
    "framework/model/": ("executor.task",),
    "framework/core/": ("framework.model", "executor.task"),
    "framework/storage/": _CORE_VALUES,
    "framework/remote.py": ("framework.conversation", "framework.model", "executor.messages"),
    "framework/conversation.py": ("executor.messages",),
    "framework/lease.py": (),
    "framework/election.py": ("framework.lease", "framework.mesos.masters"),
    # Masters and agents send their events alike.
    "framework/mesos/": (*_CORE_VALUES, "executor.task", "executor.recordio", "executor.waker"),
    "framework/local/": ("framework.model",),
    "gateway/": ("framework", *_SHARED),
    "gateway/jobs/": ("framework.model", "executor.task", "gateway.workers"),
    "gateway/schedulers/": ("framework", "gateway.errors", "gateway.pending"),
    "gateway/clusters/": (
        *("framework", "executor.task", "gateway.store", "gateway.jobs", "gateway.scripting"),
        *("gateway.pending", "gateway.policy", "gateway.workers"),
    ),
    "gateway/store/": (
        "framework.model",
        "framework.storage",
        "framework.listeners",
        "gateway.clusters",
    ),
    "gateway/plugins/": ("framework.model", "framework.remote", "executor.task", "gateway.clusters"),
    "gateway/dataprocessing/": (
        "framework.core.messages",
        "framework.model",
        "gateway.clusters",
        "gateway.plugins",
        "gateway.store",
    ),
    "gateway/scripting/": (),
    "gateway/pool.py": ("framework.model", "gateway.pending"),
    "gateway/pending.py": ("framework.model",),
    "gateway/workers.py": ("framework.model", "gateway.frames"),
    "gateway/auth/": ("framework.model", "gateway.options", "gateway.tls"),
    "gateway/audit.py": ("framework.model",),
    "gateway/tls.py": ("framework.model", "gateway.auth"),
    "gatewayctl/": (),
}
# What whoever starts, measures or tests them may import, and nobody else.
NOBODYS = ("bin", "benchmarks", "tests")

# package -> the places that may import it
GUARDED = {
    "tornado": ("gateway/", "framework/local/"),
    "pymesos": ("framework/mesos/", "executor/"),
    "docker": ("executor/runtimes/",),
    "sqlalchemy": ("framework/storage/", "gateway/store/"),
    "alembic": ("framework/storage/", "gateway/store/"),
    "pystachio": ("gateway/jobs/",),
    "kazoo": ("framework/mesos/", "framework/election"),
    "click": ("gatewayctl/",),
    "httpx": ("gatewayctl/",),
    "jwt": ("gateway/auth/",),
    "paramiko": ("gateway/plugins/", "gateway/scripting/"),
    "fabric": ("gateway/scripting/",),
}


def imports_of(path: Path) -> set[str]:
    """Returns the dotted names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}:{node.lineno} imports relatively"
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


CLOCKS = {"time", "socket", "threading", "random", "uuid", "datetime"}


def own_imports(place: str, name: str) -> str | None:
    """Returns why this module of ours may not be imported at ``place``, None if it may."""
    if any(within(name, package) for package in NOBODYS):
        return "nothing imports what starts, measures or tests it"
    if name.split(".")[0] not in ROOMS or "." not in name:
        return None
    law = max((law for law in OWN if place.startswith(law)), key=len)
    itself = law.removesuffix(".py").strip("/").replace("/", ".")
    allowed = (itself, *OWN[law])
    # A package stands beside its module where that is imported from it.
    if any(within(name, module) or within(module, name) for module in allowed):
        return None
    return f"{law} may import {', '.join(OWN[law]) or 'nothing else of ours'}"


def violations(place: str, names: set[str]) -> list[str]:
    """Returns a sentence for each name that the module at ``place`` may not import."""
    found = []
    for name in sorted(names):
        if why := own_imports(place, name):
            found.append(f"{place} imports {name}: {why}")
        if place.startswith("framework/core/") and name in CLOCKS:
            found.append(f"{place} imports {name}: the core has no clock, socket, thread or chance")
        for package, places in GUARDED.items():
            if within(name, package) and not place.startswith(places):
                found.append(f"{place} imports {name}: {package} stays in {', '.join(places)}")
        if within(name, "pymesos.subprocess"):
            found.append(f"{place} imports {name}: it unpickles what it reads from the network")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    assert violations(str(path.relative_to(ROOT)), imports_of(path)) == []


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("executor/x.py", "framework.model"),
        ("framework/service.py", "gateway.app"),
        ("framework/mesos/translate.py", "executor.driver"),
        ("framework/remote.py", "executor.remote"),
        ("framework/core/matching.py", "framework.service"),
        ("framework/core/matching.py", "time"),
        ("framework/storage/store.py", "framework.core.scheduler"),
        ("framework/mesos/driver.py", "framework.storage.store"),
        ("framework/local/master.py", "framework.mesos.driver"),
        ("framework/service.py", "tests.framework.cluster"),
        ("executor/task.py", "executor.plan"),
        ("gateway/clusters/engine.py", "gateway.api.http"),
        ("gateway/store/kv.py", "gateway.dataprocessing.objects"),
        ("gateway/scripting/registry.py", "gateway.errors"),
        ("gateway/operations.py", "executor.plan"),
        ("framework/service.py", "pymesos"),
        ("gateway/quickstart.py", "docker"),
        ("gatewayctl/client.py", "gateway.options"),
        ("gateway/quickstart.py", "gatewayctl.client"),
        ("gateway/app.py", "httpx"),
        ("executor/executor.py", "pymesos.subprocess"),
    ],
)
def test_the_check_itself_sees_a_violation(place: str, name: str) -> None:
    assert violations(place, {name})


@pytest.mark.parametrize(
    "place", sorted({*OWN, *(place for some in GUARDED.values() for place in some)})
)
def test_every_place_is_there(place: str) -> None:
    assert any(str(path.relative_to(ROOT)).startswith(place) for path in MODULES)


def test_no_module_grows_beyond_what_can_be_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}
