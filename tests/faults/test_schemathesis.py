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
# Requests about the job that exists; without this nearly all are about jobs that do not.
CONFIG = """
[parameters]
"path.cluster" = "devcluster"
"path.role" = "www-data"
"path.environment" = "prod"
"path.name" = "hello"
"path.instance" = 0
"""


@pytest.mark.parametrize("about", ["anything", "the job"])
def test_whatever_is_asked_the_answer_is_as_described(
    tmp_path: Path, about: str, measured: Measured
) -> None:
    if about == "the job":
        (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with gateway(tmp_path, "--master=local", "--local-agents=1", "--application=thread") as server:
        client = Client(server.address)
        made = client.call("PUT", f"/alpha/jobs/{JOB}", service("hello", "sleep 600"))
        assert made.status == 201
        run = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{server.address}/openapi.json",
                "--checks=" + ",".join(CHECKS),
                f"--max-examples={700 if LONG else 12}",
                "--phases=examples,coverage,fuzzing",
                f"--seed={os.environ.get('MESOS_GATEWAY_SEED', '1')}",
                "--workers=1",
                "--request-timeout=20",
                "--generation-database=none",
                # They do not end: a stream of events, and a log that is followed.
                "--exclude-path=/alpha/events",
                "--exclude-path-regex=/logs$",
                "--no-color",
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
