"""bin/*: started from anywhere, under another name, in a checkout whose path has spaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts with an environment that is made already: this Python, which finds what is here."""
    checkout = tmp_path / "a check out"
    checkout.mkdir()
    for name in ("bin", "third_party"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in ("setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    wanted = subprocess.run(
        ["bash", "-c", '. "$0"; _wanted', checkout / "bin" / "_env.sh"], capture_output=True, check=True
    )
    (checkout / ".venv" / ".made-from").write_bytes(wanted.stdout)
    return checkout


def said(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"]}  # no HOME either
    return subprocess.run([program, *arguments], cwd=cwd, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    "name",
    ["credentials", "executor", "framework", "gateway", "gatewayctl", "local-mesos", "quickstart"],
)
def test_modules_of_the_working_directory_are_not_taken(
    checkout: Path, tmp_path: Path, name: str
) -> None:
    for module in ("executor", "framework", "gateway", "gatewayctl", "msgspec", "json"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('this is not ours')\n")
    run = said(checkout / "bin" / name, "--help", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "usage" in run.stdout.lower()


def test_a_symbolic_link_starts_what_it_names(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "mesos-gateway"
    link.symlink_to(checkout / "bin" / "gateway")
    run = said(link, "--version", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("mesos-gateway ")


@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--bogus", 2)])
def test_an_option_is_no_directory_for_pex_files(
    checkout: Path, tmp_path: Path, option: str, code: int
) -> None:
    run = said(checkout / "bin" / "pex", option, cwd=tmp_path)
    assert run.returncode == code
    assert run.stdout.startswith("bin/pex [DIRECTORY]")


def test_quickstart_says_what_it_needs(tmp_path: Path) -> None:
    """Installed as a package it has no sample job, and no product."""
    installed = tmp_path / "site-packages"
    for name in ("gateway", "gatewayctl", "framework", "executor"):
        shutil.copytree(ROOT / name, installed / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-P", "-m", "gateway.quickstart"]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        f"quickstart: it needs the project's directory: there is no {installed}/examples/hello.aurora\n"
    )


def test_an_environment_whose_python_has_gone_is_made_again(checkout: Path) -> None:
    """As after an upgrade of the system: what says that it is made is still there."""
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout / "python-of-before")
    script = """
        set -euo pipefail
        . "$0"
        _make_venv() { rm -rf "$VENV"; mkdir -p "$VENV/bin"; ln -s /bin/true "$PYTHON"; }
        _install() { echo "installed $1"; }
        environment
        environment
        """
    run = subprocess.run(
        ["bash", "-c", script, checkout / "bin" / "_env.sh"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "installed .\n")
