"""The README's curl commands, pasted one after the other, do what the README says."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from gateway.option_docs import markdown
from tests.e2e.harness import ROOT, Client, eventually, key_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEFAULT = "http://127.0.0.1:8888"
KEY = key_of("greeter")


def walk() -> list[str]:
    """The curl commands of the README's walk through the API."""
    section = README.split("## A walk through the API")[1].split("\n## ")[0]
    block = section.split("```sh\n")[1].split("```")[0]
    return [line for line in block.splitlines() if line.startswith("curl ")]


def paste(command: str, client: Client) -> tuple[int, Any]:
    """Runs a command of the README against the test's server; returns status and answer."""
    assert DEFAULT in command
    command = command.replace(DEFAULT, client.url).replace("curl ", "curl -w '\\n%{http_code}' ", 1)
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    text, _, status = run.stdout.rpartition("\n")
    try:
        return int(status), json.loads(text)
    except ValueError:
        return int(status), text


def test_the_walk_through_the_api_works_as_pasted(client: Client) -> None:
    commands = iter(walk())

    def pasted(words: str, status: int) -> Any:
        command = next(commands)
        assert re.search(words, command), f"the walk has changed: {command}"
        got, answer = paste(command, client)
        assert got == status, (command, got, answer)
        return answer

    def rolled(status: str) -> None:
        eventually(
            lambda: client.call("GET", f"/alpha/jobs/{KEY}/update").json["update"]["status"],
            lambda now: now == status,
        )

    assert pasted("/version$", 200) == {"status": "success", "version": "0.1"}
    pasted("devcluster/www-data$", 404)
    assert pasted("PUT .*greeter.aurora .*greeter$", 201)["job"] == KEY
    client.wait_states(KEY, {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"})
    assert len(pasted("prod/greeter$", 200)["instances"]) == 3
    before = client.tasks(KEY)
    assert pasted("dry_run=true", 200)["plan"]["update"] == "1"
    assert client.tasks(KEY) == before
    pasted("update.shards=1'$", 202)
    assert pasted("greeter/update$", 200)["update"]["instances"] == "1"
    pasted("DELETE .*greeter/update$", 202)
    rolled("ABORTED")
    client.wait_states(KEY, {0: "RUNNING", 1: "RUNNING", 2: "RUNNING"})
    after = client.tasks(KEY)
    assert {n for n in before if before[n] != after[n]} <= {1}
    pasted("restart.shards=0,2'$", 202)
    eventually(lambda: client.tasks(KEY), lambda now: now[0] != after[0])
    # Until the new task has a log it is the old one's that is shown.
    eventually(lambda: client.states(KEY)[0], lambda state: state == "RUNNING")
    assert "may listen on port" in eventually(lambda: client.log(KEY, 0), lambda log: "hello" in log)
    assert "instance 0 may listen" in pasted("logs.stream=stdout'$", 200)
    # The restart goes on, watching each instance for 30 s; a kill ends it.
    pasted("DELETE '.*shards=2'$", 200)
    eventually(lambda: client.states(KEY), lambda s: s[2] == "KILLED")
    pasted("DELETE .*greeter$", 200)
    eventually(lambda: client.states(KEY), lambda s: set(s.values()) == {"KILLED"})
    assert "did you mean 'name'" in pasted("PUT .*broken$", 400)["errors"][0]
    assert next(commands, None) is None


def test_the_readme_lists_every_option() -> None:
    assert markdown().strip() in README
