"""The import laws of docs/architecture.md, read from every module's syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("gateway", "gatewayctl", "framework", "executor")
MODULES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))

# package -> the places that may import it
GUARDED = {
    "tornado": ("gateway/", "framework/local/"),
    "pymesos": ("framework/mesos/", "executor/"),
    "docker": ("executor/runtimes/",),
    "sqlalchemy": ("framework/storage", "gateway/store/"),
    "pystachio": ("gateway/jobs/",),
    "kazoo": ("framework/mesos/", "framework/election"),
    "click": ("gatewayctl/",),
    "httpx": ("gatewayctl/",),
    "jwt": ("gateway/auth/",),
}


def imports_of(path: Path) -> set[str]:
    """Returns the dotted names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


# What framework and executor understand of each other.
SHARED = ("executor.task", "executor.messages")
# Masters and agents send their events alike.
SUBSCRIPTION = ("executor.recordio", "executor.waker")
CLOCKS = {"time", "socket", "threading", "random", "uuid", "datetime"}


def direction(place: str, name: str) -> str | None:
    """Returns why the direction of this import is wrong, None if it is right."""
    room = place.split("/")[0]
    if room == "executor" and (within(name, "framework") or within(name, "gateway")):
        return "the executor stands alone"
    if room == "gatewayctl" and any(within(name, own) for own in ("executor", "framework", "gateway")):
        return "gatewayctl knows the REST API only"
    if room in ("framework", "gateway") and within(name, "gatewayctl"):
        return "the command line is nobody's library"
    if room == "framework" and within(name, "gateway"):
        return "the framework is usable without the gateway"
    if room != "executor" and name.startswith("executor."):
        shared = SUBSCRIPTION if place.startswith("framework/mesos/") else ()
        if not any(within(name, module) for module in (*SHARED, *shared)):
            return (
                "only executor.task and executor.messages are shared, and with framework/mesos what "
                "reads a subscription"
            )
    if place.startswith("framework/core/"):
        if name in CLOCKS:
            return "the core has no clock, socket, thread or chance"
        if name.startswith("framework.") and not name.startswith(("framework.model", "framework.core")):
            return "the core knows only the model"
    return None


def violations(place: str, names: set[str]) -> list[str]:
    """Returns a sentence for each name that the module at ``place`` may not import."""
    found = []
    for name in sorted(names):
        if why := direction(place, name):
            found.append(f"{place} imports {name}: {why}")
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


def test_no_module_grows_beyond_what_can_be_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}
