"""The commands about clusters in the README and in docs/products.md do what is said there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Server, gateway

DEFAULT = "http://127.0.0.1:8888"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRODUCTS = (ROOT / "docs" / "products.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("documents")
    with gateway(directory, "--master=local", "--local-agents=2", "--application=thread") as server:
        yield server


def blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def paste(script: str, server: Server, directory: Path) -> str:
    """Runs a block as it stands, but for where the gateway is; any command that fails, fails it."""
    script = script.replace(DEFAULT, server.address).replace("curl -s ", "curl -sf ")
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={**os.environ, "MESOS_GATEWAY_URL": server.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, (script, run.stdout, run.stderr)
    return run.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place where bin/gatewayctl is, and products/."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gatewayctl"
    program.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m gatewayctl "$@"\n')
    program.chmod(0o755)
    (tmp_path / "products").symlink_to(ROOT / "products")
    return tmp_path


def test_the_cluster_of_the_readme(server: Server, directory: Path) -> None:
    paste("bin/gatewayctl product put products/reference", server, directory)
    (block,) = blocks(README.split("## A cluster of a product")[1].split("\n## ")[0])
    said = paste(block, server, directory)
    assert '"required": {"size": 2}' in said
    assert "/bigdata/api/v1/queue/" in said
    assert "node1: hello from anonymous, node1" in said
    assert "hello from anonymous, node2" in said
    assert '{"message": "success"}' in said


def test_the_product_of_the_how_to(server: Server, directory: Path) -> None:
    *files, commands = blocks(PRODUCTS)
    for block in files:
        paste(block, server, directory)
    said = paste(commands, server, directory)
    assert "number of nodes" in said
    assert "hi from slave0\nhi from slave1\n" in said
    assert "2 messages are in place" in said
    assert "3 messages are in place" in said
    assert re.search(r"status stdout: slave1 \S+ ok", said)
