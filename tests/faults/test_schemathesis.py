"""Generated requests, of the kind that /openapi.json describes and of others: no answer is a defect."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Client, gateway, key_of, service
from tests.measured import Measured

LONG = bool(os.environ.get("MESOS_GATEWAY_LONG"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


JOB = key_of("hello")
# Requests about what exists; without these nearly all are about jobs and clusters that do not.
CONFIG = {
    # Who waits for a change of a key waits for minutes.
    "anything": """
[parameters]
"query.wait" = "20ms"
""",
    "the job": """
[parameters]
"path.cluster" = "devcluster"
"path.role" = "www-data"
"path.environment" = "prod"
"path.name" = "hello"
"path.instance" = 0
""",
    "the cluster": """
[parameters]
"path.user" = "anonymous"
"path.product" = "tiny"
"path.version" = "1"
"path.id" = "1"
"path.node" = "n0"
"path.verb" = "status"
"path.network" = "lan"
"path.address" = "10.9.0.2"
""",
}
ONLY = {
    "anything": ["--phases=examples,coverage,fuzzing"],
    "the job": ["--phases=examples,coverage,fuzzing", "--include-path-regex=^/alpha/"],
    # What is wrong in itself has been sent to the same resources already.
    "the cluster": ["--phases=examples,fuzzing", "--include-path-regex=^/(bigdata|resources)/"],
}
# Of each resource: there are many of anything.
MANY = {"anything": 200, "the job": 700, "the cluster": 700}
API = "/bigdata/api/v1"


def launch(client: Client) -> None:
    """Has a cluster of one node, and a network."""
    for method, path, body in (
        ("POST", f"{API}/products", b'{"name": "tiny", "version": "1"}'),
        ("PUT", f"{API}/products/tiny/1/template", b'{"nodes": {"n0": {"cpu": 0.1, "mem": 32}}}'),
        ("POST", f"{API}/products/tiny/1", b"{}"),
        (
            "POST",
            "/resources/networks/v1/networks",
            b'{"name": "lan", "network": "10.9.0.0/24", "addresses": ["10.9.0.2-10.9.0.9"]}',
        ),
    ):
        assert client.call(method, path, body).status in (201, 202, 204)


@pytest.mark.parametrize("about", ["anything", "the job", "the cluster"])
def test_whatever_is_asked_the_answer_is_as_described(
    tmp_path: Path, about: str, measured: Measured
) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG[about])
    with gateway(tmp_path, "--master=local", "--local-agents=1", "--application=thread") as server:
        client = Client(server.address)
        made = client.call("PUT", f"/alpha/jobs/{JOB}", service("hello", "sleep 600"))
        assert made.status == 201
        launch(client)
        run = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{server.address}/openapi.json",
                "--checks=" + ",".join(CHECKS),
                f"--max-examples={MANY[about] if LONG else 12}",
                f"--seed={os.environ.get('MESOS_GATEWAY_SEED', '1')}",
                "--workers=1",
                "--request-timeout=20",
                "--generation-database=none",
                # They do not end: a stream of events, and a log that is followed.
                "--exclude-path=/alpha/events",
                "--exclude-path-regex=/logs$",
                "--no-color",
                "--warnings=off",
                *ONLY[about],
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        cases = int(re.findall(r"(\d+) generated", run.stdout)[-1])
        measured(f"bad input: generated calls about {about}, as described", cases)
        assert cases >= (5_000 if LONG else 100)
        assert client.call("GET", "/alpha/version").status == 200
    assert "Traceback" not in (tmp_path / "gateway.log").read_text()
