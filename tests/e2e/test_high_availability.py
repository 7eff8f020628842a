"""The trial of docs/operations/high-availability.md, pasted: only ports and directory are others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.e2e.harness import ROOT, Client, eventually, key_of
from tests.ports import free_port

PAGE = (ROOT / "docs" / "operations" / "high-availability.md").read_text(encoding="utf-8")
BASH = "set -euo pipefail\n"


def blocks() -> list[str]:
    section = PAGE.split("## Try it on one machine")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_trial_on_one_machine(zookeeper_installed: None, short_directory: Path) -> None:
    one, two = free_port(), free_port()
    ports = {"2181": free_port(), "5050": free_port(), "8881": one, "8882": two}

    def paste(block: str) -> str:
        for documented, port in ports.items():
            block = re.sub(rf"\b{documented}\b", str(port), block)
        block = block.replace("888$n", "$([ $n = 1 ] && echo " + f"{one} || echo {two})")
        block = block.replace("/tmp/ha", str(short_directory))
        # What goes on in the background must not hold the pipe open.
        with (short_directory / "pasted.log").open("ab") as errors:
            out = short_directory / "out"
            with out.open("wb") as stdout:
                subprocess.run(
                    ["bash", "-c", BASH + block],
                    cwd=ROOT,
                    stdout=stdout,
                    stderr=errors,
                    check=True,
                    timeout=300,
                )
        return out.read_text()

    start, use, kill, end = blocks()
    try:
        assert [json.loads(line)["ready"] for line in paste(start).splitlines()] == [True, True]
        created = paste(use)
        assert '"status": "success", "key": "devcluster/www-data/prod/greeter"' in created
        assert '"jobs": {"1": "devcluster/www-data/prod/greeter"}' in created
        client = Client(f"http://127.0.0.1:{two}")
        running = {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"}
        client.wait_states(key_of("greeter"), running)
        tasks = client.tasks(key_of("greeter"))
        said = paste(kill)
        assert json.loads(said[said.rindex('{"status"') :])["replica"]["role"] == "leader"
        eventually(lambda: client.tasks(key_of("greeter")), lambda now: now == tasks)
        paste(end)
    finally:
        pids = [int(file.read_text()) for file in short_directory.glob("*.pid")]
        with contextlib.suppress(AssertionError):
            eventually(lambda: all(map(gone, pids)), bool)
        left = [pid for pid in pids if not gone(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert left == []


def gone(pid: int) -> bool:
    """Whether the process has ended; its parent may not have noticed."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
