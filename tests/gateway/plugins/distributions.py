"""Plugins as distributions of their own, which pip installs beside the gateway."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.gateway.plugins.world import ROOT

_PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "mesos-gateway-{name}"
version = "0.1.0"

[project.entry-points."mesos_gateway.plugins"]
{name} = "mesos_gateway_{name}:NewPlugin"

[tool.setuptools]
py-modules = ["mesos_gateway_{name}"]
"""


def copy(directory: Path) -> Path:
    """Returns a copy of the example: what is built beside it is not left in the project."""
    return Path(shutil.copytree(ROOT / "examples" / "plugin", directory / "plugin"))


def make(directory: Path, name: str, text: str) -> Path:
    """Writes a distribution whose plugin is ``NewPlugin`` of the module ``text``; returns where."""
    source = directory / name
    source.mkdir()
    (source / "pyproject.toml").write_text(_PROJECT.format(name=name))
    (source / f"mesos_gateway_{name}.py").write_text(text)
    return source


def install(target: Path, *sources: Path) -> None:
    """Installs distributions into a directory that is to stand in PYTHONPATH."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--target", str(target), *map(str, sources)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
