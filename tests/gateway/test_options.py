"""Options: where values come from, which win, and what is said about wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.option_docs import help_text, markdown
from gateway.option_reading import parse_arguments, resolve
from gateway.options import TABLE, OptionError, Options


def read(*argv: str, **environment: str) -> Options:
    return resolve(parse_arguments(argv), environment)


def refusal(*argv: str, **environment: str) -> str:
    with pytest.raises(OptionError) as error:
        read(*argv, **environment)
    return str(error.value)


def test_defaults() -> None:
    options = read()
    assert (options.port, options.address) == (8888, "127.0.0.1")
    assert (options.executor, options.application) == ("internal", "process")
    assert options.parallel % 16 == 0


def test_the_original_command_line() -> None:
    options = read("--port=8888", "--executor=internal", "--application=thread", "--parallel=4")
    assert (options.application, options.parallel) == ("thread", 4)
    assert read("--concurrency", "coroutine").application == "coroutine"


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 1\napplication = "sync"\nparallel = 7\n"max-body" = "1M"\n')
    options = read(
        "--port=3",
        f"--config={file}",
        MESOS_GATEWAY_PORT="2",
        MESOS_GATEWAY_CONCURRENCY="thread",
        MESOS_GATEWAY_SHARED="/not/an/option",
    )
    assert (options.port, options.application, options.parallel) == (3, "thread", 7)
    assert options.max_body == 1024 * 1024
    assert read(MESOS_GATEWAY_CONFIG=str(file)).port == 1
    assert read("--port=3", "--port=4").port == 4


def test_options_that_repeat(tmp_path: Path) -> None:
    assert read("--local-attributes=rack:a", "--local-attributes", "rack:b").local_attributes == (
        "rack:a",
        "rack:b",
    )
    assert read(MESOS_GATEWAY_LOCAL_ATTRIBUTES="rack:a|rack:b").local_attributes == ("rack:a", "rack:b")
    file = tmp_path / "gateway.toml"
    file.write_text('local_attributes = ["rack:a"]\nlegacy-status = true\nfailover-timeout = 9e5\n')
    options = read(f"--config={file}")
    assert options.local_attributes == ("rack:a",)
    assert options.legacy_status is True
    assert options.failover_timeout == 900_000.0


def test_a_switch_needs_no_value() -> None:
    assert read("--legacy-status").legacy_status is True
    assert read("--legacy-status=false").legacy_status is False
    assert read("--legacy-status", "--port=5").port == 5


@pytest.mark.parametrize(
    ("argument", "about"),
    [
        ("--prot=9000", "did you mean --port?"),
        ("--aplication=thread", "did you mean --application?"),
        ("--zzz", "unknown option --zzz; see --help"),
        ("9000", "options begin with --"),
        ("-p", "options begin with --"),
        ("--port", "--port needs a value"),
        ("--port=x", "'x' is not an integer between 0 and 65535"),
        ("--port=70000", "70000"),
        ("--application=fork", "'fork' is not one of process, thread, coroutine, sync"),
        ("--executor=both", "internal, external"),
        ("--parallel=0", "--parallel"),
        ("--max-body=lots", "512K"),
        ("--max-body=0", "not a size"),
        ("--clusters=/no/such/file", "there is no file"),
        ("--policy=/no/such/file", "there is no file"),
        ("--config=/no/such/file", "cannot be read"),
        ("--failover-timeout=-1", "seconds"),
        ("--failover-timeout=nan", "seconds"),
        ("--legacy-status=maybe", "neither true nor false"),
        ("--cluster-name=-x", "not a valid name"),
        ("--master=http://x", "write host:port"),
        ("--master=zk://x", "zk://host:port/mesos"),
        ("--master=zk://x:port/mesos", "'x:port' is no ZooKeeper; write zk://host:port"),
        ("--master=zk://u:secret@x,/mesos", "master 'zk://…@x,/mesos': '' is no ZooKeeper"),
        ("--master=zk://u:secret@x", "master 'zk://…@x' lacks the path"),
        ("--master=http://u:s/cret@x", "master 'http://…@x': write host:port"),
        ("--ha=zk://u:secret@x:port/gateway", "'zk://…@x:port/gateway' is not a place in ZooKeeper"),
        ("--state=", "empty"),
        ("--disk-path=data/{disk}", "must be absolute"),
        ("--disk-path=/data/{disk}/{rack}", "{disk} and {hostname}"),
        ("--address=everywhere", "not an IP address"),
    ],
)
def test_wrong_options_are_named_with_what_would_be_right(argument: str, about: str) -> None:
    assert about in refusal(argument)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_without_authentication_only_this_machine_is_served(address: str) -> None:
    assert "nobody is asked" in refusal(f"--address={address}")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses(address: str) -> None:
    assert read(f"--address={address}").address == address


def test_where_a_wrong_value_stood_is_said(tmp_path: Path) -> None:
    assert refusal(MESOS_GATEWAY_PORT="x").startswith("MESOS_GATEWAY_PORT: ")
    file = tmp_path / "gateway.toml"
    for text, about in (
        ('port = "x"', f"{file}: port"),
        ("prot = 1", "did you mean port?"),
        ("port = [1]", "list"),
        ("port = ", "not TOML"),
        ("[server]\nport = 1", "unknown option server"),
    ):
        file.write_text(text)
        assert about in refusal(f"--config={file}")


def test_help_and_readme_hold_every_option() -> None:
    text, table = help_text(), markdown()
    for row in TABLE:
        assert row.flags[0] in text
        assert row.text.split()[0] in text
        assert f"`{row.flags[0]}`" in table
        assert f"`{row.variables[0]}`" in table
    assert max(map(len, text.splitlines())) <= 100
    columns = {line.replace("\\|", "").count("|") for line in table.splitlines()}
    assert columns == {5}


def test_the_words_that_end_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    assert "--port=N" in capsys.readouterr().out
    assert main(["--version"], {}) == 0
    assert capsys.readouterr().out == "mesos-gateway 0.1.0\n"
    assert main(["--prot=1"], {}) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "mesos-gateway: unknown option --prot; did you mean --port?\n"


def test_the_module_exits_with_2() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "gateway", "--application=fork"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert "fork" in run.stderr
    assert run.stdout == ""
