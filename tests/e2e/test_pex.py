"""bin/pex: single files of gateway and executor that need nothing but Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Client, Server, gateway, key_of, local_mesos, service


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run = subprocess.run(
        [ROOT / "bin" / "pex", directory], capture_output=True, text=True, timeout=900, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return directory


def bare(directory: Path) -> dict[str, str]:
    """An environment with a Python on the PATH, and nothing of this project's."""
    python = directory / "bin"
    python.mkdir(exist_ok=True)
    if not (python / "python3").exists():
        (python / "python3").symlink_to(Path(sys.executable).resolve())
    return {
        "PATH": f"{python}:/usr/bin:/bin",
        "HOME": str(directory),
        "PEX_ROOT": str(directory / "pex"),
    }


@pytest.mark.slow
def test_the_gateways_file_alone_brings_a_job_up(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bare(tmp_path).items():
        monkeypatch.setenv(name, value)
    command = [str(built / "mesos-gateway.pex"), "--port=0", f"--state={tmp_path / 'state.db'}"]
    server = Server([*command, "--master=local", "--local-agents=1"], "listens on ", tmp_path / "log")
    try:
        client = Client(server.address)
        body = service("alone", "echo one file", kind="Job")
        assert client.call("PUT", f"/alpha/jobs/{key_of('alone')}", body).status == 201
        client.wait_states(key_of("alone"), {0: "FINISHED"})
        assert client.log(key_of("alone"), 0) == "one file\n"
    finally:
        assert server.stop() == 0


@pytest.mark.slow
def test_an_agent_fetches_the_executor_and_runs_a_task_with_it(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The agents, and so what they start, see a bare Python only.
    for name, value in bare(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert os.environ["HOME"] == str(tmp_path)
    executor = built / "mesos-gateway-executor.pex"
    resources = "--resources=cpus:2;mem:1024;disk:1024;ports:[31000-31099]"
    with (
        local_mesos(tmp_path, "--agents=1", resources) as mesos,
        gateway(tmp_path, f"--master={mesos.address}", f"--executor-uri={executor}") as server,
    ):
        client = Client(server.address)
        body = service("fetched", "echo from a single file", kind="Job")
        assert client.call("PUT", f"/alpha/jobs/{key_of('fetched')}", body).status == 201
        client.wait_states(key_of("fetched"), {0: "FINISHED"})
        assert client.log(key_of("fetched"), 0) == "from a single file\n"
