"""What setup.py says of files, against those that there are, and against Pants's BUILD files."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import setuptools

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py gives to setuptools."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return given


def targets(build: Path) -> dict[str, dict[str, Any]]:
    """Returns the targets of a BUILD file by name; its statements are calls like any of Python's."""
    found: dict[str, dict[str, Any]] = {}

    def kind(name: str) -> Callable[..., None]:
        def target(**fields: Any) -> None:
            found[fields["name"]] = {"kind": name, **fields}

        return target

    kinds = ("python_sources", "resources", "pex_binary")
    exec(build.read_text(), {name: kind(name) for name in kinds})  # a file of ours
    return found


def test_files_that_are_not_python_are_there_and_in_both(metadata: dict[str, Any]) -> None:
    assert metadata["package_data"]
    for package, names in metadata["package_data"].items():
        for name in names:
            file = ROOT / package.replace(".", "/") / name
            assert file.is_file(), f"setup.py names {file}"
            room = ROOT / file.relative_to(ROOT).parts[0]
            built = targets(room / "BUILD")
            holding = [
                f":{target['name']}"
                for target in built.values()
                if target["kind"] == "resources" and str(file.relative_to(room)) in target["sources"]
            ]
            assert set(holding) & set(built[room.name].get("dependencies", ())), f"BUILD lacks {file}"


def test_packages_are_all_that_has_modules(metadata: dict[str, Any]) -> None:
    """A directory without __init__.py would be left out of what is installed."""
    rooms = ("gateway", "gatewayctl", "framework", "executor")
    held = {str(path.parent.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert {name.replace(".", "/") for name in metadata["packages"]} == held
