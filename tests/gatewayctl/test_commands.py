"""gatewayctl against a real gateway with an embedded Mesos: each command, its output, its exit code."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import quickstart
from gatewayctl.__main__ import main
from tests.e2e.harness import Server, gateway

PRODUCT = {
    "product.json": '{"name": "tiny", "version": "1", "description": "a small one"}',
    "options.json": '{"required": {"size": 2}, "optional": {"cpu": 0.1}, '
    '"descriptions": {"size": "number of nodes"}}',
    "template.yaml": "nodes:\n{% for n in range(opts.size) %}"
    "  n{{ n }}: {cpu: {{ opts.cpu }}, mem: 32, group: all}\n{% endfor %}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("gatewayctl")
    with gateway(directory, "--master=local", "--local-agents=2", "--application=thread") as server:
        yield server


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        code = main(["--url", server.address, *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in PRODUCT.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def of(run: Run, *words: str) -> Any:
    code, out, err = run("--json", *words)
    assert code == 0, err
    return json.loads(out)


def test_a_cluster_from_its_product_to_its_end(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("product", "put", str(directory)) == (0, "tiny/1\n", "")
    about = '{"name": "tiny", "version": "1", "description": "another one"}'
    (directory / "product.json").write_text(about)
    assert run("product", "put", str(directory))[0] == 0  # again
    assert "another one" in run("product", "show", "tiny/1")[1]
    code, out, _ = run("product", "list")
    assert out.splitlines() == ["PRODUCT  VERSIONS", "tiny     1"]
    assert "number of nodes" in run("product", "show", "tiny/1")[1]

    code, out, err = run("cluster", "launch", "tiny/1", "size=2", "--wait", "--timeout=120")
    name = out.strip()
    assert code == 0, err
    # Another test may have had one of this product before.
    assert re.fullmatch(r"anonymous/tiny/1/\d+", name)
    assert "ready" in err
    assert of(run, "cluster", "show", name)["status"] == "ready"
    assert "status:    ready" in run("cluster", "show", f"clusters/{name}")[1]
    (listed,) = of(run, "cluster", "list")
    assert listed["groups"] == {"all": 2}
    nodes = of(run, "cluster", "nodes", name)
    assert [(one["name"], one["status"]) for one in nodes] == [("n0", "running"), ("n1", "running")]
    assert nodes[0]["host"] in run("cluster", "nodes", name)[1]

    code, out, err = run("cluster", "exec", name, "n0", "--", "sh", "-c", "echo hi; echo no >&2; exit 4")
    assert (code, out, err) == (4, "hi\n", "no\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("from here"))
    assert run("cluster", "exec", "--stdin", name, "n1", "cat")[:2] == (0, "from here")
    assert of(run, "cluster", "exec", name, "n1", "true")["code"] == 0

    assert run("cluster", "scale", name, "all=3", "--remove=n0", "--wait", "--timeout=120")[0] == 0
    assert {one["name"] for one in of(run, "cluster", "nodes", name)} == {"n1", "n2", "n3"}
    code, out, err = run("product", "delete", "tiny/1")
    assert code == 5
    assert name in err

    assert run("cluster", "delete", name, "--wait", "--timeout=120")[0] == 0
    assert run("cluster", "wait", name, "--for=destroyed")[0] == 0
    code, _, err = run("cluster", "wait", name)
    assert code == 7
    assert "destroyed" in err
    assert of(run, "cluster", "list") == []
    every = of(run, "cluster", "list", "--all", "--user", "anonymous")
    (listed,) = [one for one in every if one["dn"] == f"clusters/{name}"]
    assert listed["status"] == "destroyed"
    out = run("cluster", "events", name)[1]
    assert "launched by anonymous" in out
    followed = run("cluster", "events", "--follow", name)[1]
    assert followed == out
    assert run("product", "delete", "tiny/1")[0] == 0


def test_networks(run: Run) -> None:
    defined = run(
        "network",
        "define",
        "lan",
        "10.9.0.0/24",
        "--addresses",
        "10.9.0.10-10.9.0.12",
        "--gateway",
        "10.9.0.1",
    )
    assert defined == (0, "", "")
    assert run("network", "list")[1].splitlines()[1].split() == [
        "lan",
        "bridge",
        "10.9.0.0",
        "255.255.255.0",
        "10.9.0.1",
        "3",
    ]
    assert "10.9.0.12" in run("network", "show", "lan")[1]
    assert of(run, "network", "show", "lan")[0]["status"] == "free"
    assert of(run, "network", "list")[0]["name"] == "lan"
    assert run("network", "delete", "lan")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["product", "show", "absent/1"], 3, "there is no product"),
        (["product", "show", "absent"], 2, "NAME/VERSION"),
        (["product", "register", "../x/1"], 2, "NAME/VERSION"),
        (["product", "register", "a b/1"], 1, "valid name"),
        (["product", "put", "/nonexistent"], 2, "does not exist"),
        (["cluster", "show", "a/b"], 2, "USER/PRODUCT/VERSION/ID"),
        (["cluster", "show", "a/b/1/1"], 3, "there is no cluster"),
        (["cluster", "launch", "absent/1", "size"], 2, "name=value"),
        (["cluster", "launch", "absent/1", "size=1"], 3, "there is no product"),
        (["cluster", "explode"], 2, "No such command"),
        # What would be another path, and do something else.
        (["cluster", "delete", "a/b/1/.."], 2, "'..' is not a name"),
        (["cluster", "exec", "a/b/1/1", "..", "true"], 2, "'..' is not a name"),
        (["cluster", "list", "--user", "."], 2, "'.' is not a name"),
        (["product", "delete", "x/.."], 2, "'..' is not a name"),
        (["network", "show", ".."], 2, "'..' is not a name"),
        (["--token", "t\u00f6k", "product", "list"], 2, "the token is none"),
        (["--token", "a\nb", "product", "list"], 2, "the token is none"),
        (["network", "delete", "absent"], 3, "no network"),
        (["network", "define", "lan", "10.9.0"], 1, "subnet"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(run: Run, words: list[str], code: int, says: str) -> None:
    got, out, err = run(*words)
    assert (got, out) == (code, "")
    assert says in err
    assert "Traceback" not in err


def test_a_product_that_would_not_work_is_refused(run: Run, directory: Path) -> None:
    (directory / "template.yaml").write_text("nodes: {a: {cpu: many}}")
    code, _, err = run("product", "put", str(directory))
    assert code == 1
    assert "cpu" in err
    (directory / "template.yaml").unlink()
    assert run("product", "put", str(directory))[0] == 2
    (directory / "product.json").write_text("{")
    assert "not JSON" in run("product", "put", str(directory))[2]


def test_an_option_of_a_product_may_get_another_name(run: Run, directory: Path) -> None:
    assert run("product", "put", str(directory))[0] == 0
    template = PRODUCT["template.yaml"].replace("opts.size", "opts.number")
    (directory / "template.yaml").write_text(template)
    (directory / "options.json").write_text(PRODUCT["options.json"].replace("size", "number"))
    assert run("product", "put", str(directory)) == (0, "tiny/1\n", "")
    assert set(of(run, "product", "show", "tiny/1")["options"]["required"]) == {"number"}

    # What would not work leaves all as it was.
    (directory / "template.yaml").write_text(PRODUCT["template.yaml"].replace("32", "many"))
    (directory / "options.json").write_text(PRODUCT["options.json"])
    code, _, err = run("product", "put", str(directory))
    assert code == 1
    assert "mem" in err
    assert of(run, "product", "show", "tiny/1")["options"]["optional"] == {"cpu": 0.1}
    (directory / "options.json").write_text("[1]")
    assert "options.json: expects" in run("product", "put", str(directory))[2]
    assert run("product", "delete", "tiny/1")[0] == 0


def test_an_option_that_is_a_text_may_look_like_a_number(run: Run, directory: Path) -> None:
    (directory / "options.json").write_text(
        '{"required": {"release": "1.0", "size": 1}, "optional": {"cpu": 0.1, "key": "a", "note": "b"}}'
    )
    (directory / "template.yaml").write_text(
        PRODUCT["template.yaml"] + "dnsname: 'r{{ opts.release }}-{{ opts.key }}-{{ opts.note }}'\n"
    )
    assert run("product", "put", str(directory))[0] == 0
    words = ["release=1.10", "key=007", 'note="true"', "size=1"]
    code, out, err = run("cluster", "launch", "tiny/1", *words, "--wait", "--timeout=120")
    assert code == 0, err
    assert of(run, "cluster", "show", out.strip())["dnsname"] == "r1.10-007-true"
    assert run("cluster", "delete", out.strip(), "--wait", "--timeout=120")[0] == 0
    assert run("product", "delete", "tiny/1")[0] == 0


def test_what_is_no_text_is_not_handed_to_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    code, out, err = run("cluster", "exec", "--stdin", "a/b/1/1", "n0", "cat")
    assert (code, out) == (2, "")
    assert "no text in UTF-8" in err


def test_a_gateway_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "product", "list"]) == 6
    assert "does not answer" in capsys.readouterr().err
    assert main(["--url", "ftp://x", "product", "list"]) == 2
    assert main(["--url", "nowhere", "product", "list"]) == 2


def test_the_url_and_the_token_come_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESOS_GATEWAY_URL", server.address + "/")
    monkeypatch.setenv("MESOS_GATEWAY_TOKEN", "secret-token")
    assert main(["product", "list"]) == 0
    assert main(["product", "show", "absent/1"]) == 3
    said = capsys.readouterr()
    assert "secret-token" not in said.out + said.err
    assert main(["--help"]) == 0
    assert "MESOS_GATEWAY_TOKEN" in capsys.readouterr().out


def test_quickstart_goes_on_without_a_network_of_its_own(
    server: Server, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("network", "define", "mine", "10.0.0.0/8") == (0, "", "")
    quickstart.define_network(server.address)
    said = capsys.readouterr().out
    assert "The network default stays what agents have anyway" in said
    assert "its subnet 10.213.0.0/16 overlaps 10.0.0.0/8, that of the network mine" in said
    assert run("network", "delete", "mine")[0] == 0
    quickstart.define_network(server.address)
    assert "10.213.0.0" in run("network", "list")[1]
    assert run("network", "delete", "default")[0] == 0
