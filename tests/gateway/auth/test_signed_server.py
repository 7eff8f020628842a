"""``--auth jwt`` on a server that was started with it: the README's commands, pasted, and strangers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, Client, Server
from tests.gateway.auth.conftest import audited
from tests.gateway.auth.test_web_tokens import signed_token
from tests.gateway.test_server import command, refused, start

JOB = "/alpha/jobs/devcluster/www-data/prod/hello"
CLUSTERS = "/bigdata/api/v1/clusters"
PLACE = "/tmp/gateway"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def paste(line: str, directory: Path, url: str = "") -> str:
    line = line.replace(PLACE, str(directory)).replace("http://localhost:8888", url)
    line = line.replace("bin/credentials", f"{shlex.quote(sys.executable)} -m gateway.auth")
    run = subprocess.run(["bash", "-ec", line], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout


def bearer(client: Client, method: str, path: str, token: str) -> int:
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]
    run = subprocess.run(
        [*words, "-H", f"X-Auth-Token: {token}", client.url + path], capture_output=True, check=True
    )
    return int(run.stdout)


def test_the_readmes_commands_with_signed_tokens(tmp_path: Path) -> None:
    (block,) = (
        block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "--auth jwt" in block
    )
    making, using = block.split("\n\n# In another terminal:\n")
    *lines, starting = making.splitlines()
    # Each line has its own shell here: the umask goes with what follows it.
    paste("\n".join(lines), tmp_path)
    assert starting.startswith("bin/gateway ")
    words = shlex.split(starting.replace(PLACE, str(tmp_path)))[1:]
    log = tmp_path / "audit.jsonl"
    server: Server = start(command(*words, "--local-agents=1", f"--audit-log={log}"), tmp_path)
    try:
        client = Client(server.address)
        commands = using.replace("\\\n", "").splitlines()
        signing, putting, listing = commands
        paste(f"umask 077; {signing}", tmp_path)
        created = json.loads(paste(putting, tmp_path, server.address))
        assert created["status"] == "success", created
        assert json.loads(paste(listing, tmp_path, server.address)) == {"clusters": []}
        alice = (tmp_path / "jwt").read_text().strip()
        assert bearer(client, "GET", JOB, alice) == 200
        # Somebody else's are not hers, products are no user's to change.
        assert bearer(client, "GET", JOB.replace("www-data", "ops"), alice) == 404
        assert bearer(client, "DELETE", "/bigdata/api/v1/products/reference/1.0.0", alice) == 403
        key = (tmp_path / "jwt.key").read_text().strip()
        assert bearer(client, "GET", CLUSTERS, signed_token(key, "root", "ROLE_ADMIN")) == 200
        for stranger in (
            alice[:-2],
            signed_token("x" * 43, "alice", "www-data"),
            alice.rpartition(".")[0] + ".",
            "nonsense",
            "",
        ):
            assert bearer(client, "GET", CLUSTERS, stranger) == 401, stranger
        assert client.call("GET", JOB).status == 401
        assert client.call("GET", "/alpha/version").status == 200
        made = [(e["user"], e["status"]) for e in audited(log)]
        assert made == [("alice", 201), ("alice", 403)]
    finally:
        code = server.stop()
    assert code == 0
    said = server.log.read_text() + log.read_text()
    for secret in (key, alice, alice.rpartition(".")[2]):
        assert secret not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("x" * 43, 0o644, "chmod"),
        ("short", 0o600, "too short"),
        ("-----BEGIN PUBLIC KEY-----\n" + "x" * 43, 0o600, "RS256"),
    ],
)
def test_a_key_that_proves_nothing_is_refused_at_the_start(
    tmp_path: Path, text: str, mode: int, says: str
) -> None:
    path = tmp_path / "jwt.key"
    path.write_text(text)
    path.chmod(mode)
    run = refused("--auth=jwt", f"--jwt-key={path}", f"--state={tmp_path / 'state.db'}")
    assert run.returncode == 2, run
    assert says in run.stderr
    assert "Traceback" not in run.stderr
