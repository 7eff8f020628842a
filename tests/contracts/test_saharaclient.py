"""The real python-saharaclient and openstack command line against a gateway on its embedded Mesos."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dataprocessing.catalogue_file import id_of
from tests.e2e.harness import Server
from tests.gateway.test_server import command, start
from tests.keystone import PASSWORD, Keystone

_CALLS = Path(__file__).with_name("saharaclient_calls.py")
_NOUNS = (id_of("image", "default"), id_of("network", "default"))
_COMMANDS = """\
keypair create mine
dataprocessing plugin list
dataprocessing image register default --username root
dataprocessing image tags add default --tags fake 0.1
dataprocessing node group template create --name m --plugin fake --plugin-version 0.1 \
--processes namenode --flavor m1.tiny
dataprocessing node group template create --name w --plugin fake --plugin-version 0.1 \
--processes datanode tasktracker --flavor m1.tiny
dataprocessing cluster template create --name small --node-groups m:1 w:2
dataprocessing cluster create --name first --cluster-template small --image default \
--neutron-network default --user-keypair mine --wait
dataprocessing cluster show first
dataprocessing cluster delete first --wait
dataprocessing cluster list
"""


def gateway(directory: Path, *arguments: str) -> Server:
    own = (f"--state={directory / 'state.db'}", f"--local-work-dir={directory / 'mesos'}")
    return start(command("--local-agents=1", *own, *arguments), directory)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = gateway(tmp_path_factory.mktemp("gateway"))
    yield made
    made.stop()


def run(words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that warns of many things."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OS_", "PYTHONWARN"))}
    given = more.pop("input", "")
    done = subprocess.run(
        words,
        input=given,
        capture_output=True,
        text=True,
        timeout=400,
        env={**environment, **more},
        check=False,
    )
    # At the end of its input the command line's shell ends with 1, whatever there was.
    assert done.returncode == (1 if given else 0), done.stdout + done.stderr
    return done


def call_all(kind: str, url: str, project: str, *user: str) -> None:
    run([sys.executable, str(_CALLS), kind, url, project, *_NOUNS, *user])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noauth", "endpoint", "password"])
def test_every_manager_method(server: Server, kind: str) -> None:
    if kind == "password":
        call_all(kind, f"{server.address}/identity/v3", "third", "anybody", "x")
    else:
        call_all(kind, server.address, kind)


@pytest.mark.slow
def test_the_command_line_from_a_template_to_the_end_of_a_cluster(server: Server) -> None:
    done = run(
        [str(Path(sys.executable).with_name("openstack"))],
        input=_COMMANDS,
        OS_AUTH_URL=f"{server.address}/identity/v3",
        OS_IDENTITY_API_VERSION="3",
        OS_USERNAME="demo",
        OS_PASSWORD="demo",
        OS_PROJECT_NAME="of-the-command-line",
        OS_USER_DOMAIN_NAME="Default",
        OS_PROJECT_DOMAIN_NAME="Default",
    )
    assert "-----BEGIN OPENSSH PRIVATE KEY-----" in done.stdout
    assert not done.stderr, done.stderr
    assert re.search(r"\| fake +\| 0\.1", done.stdout)
    assert done.stdout.count("| Active") == 2, done.stdout + done.stderr
    assert 'Cluster "first" has been removed successfully.' in done.stdout


@pytest.mark.slow
def test_every_manager_method_with_a_keystone(real_keystone: Keystone, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    server = gateway(
        tmp_path,
        "--auth=keystone",
        f"--keystone-url={real_keystone.url}",
        "--keystone-user=admin",
        "--keystone-project=admin",
        f"--keystone-password-file={secret}",
    )
    try:
        for kind, path in (("data-processing", "/v1.1/%(tenant_id)s"), ("compute", "/compute/v2.1")):
            real_keystone.offer(kind, server.address + path)
        project = real_keystone.make("project", name="clients")
        user = real_keystone.make("user", name="carol", password="of-carol")
        # Labels of plugins are the administrators' to change.
        real_keystone.grant(project, user, "admin")
        call_all("password", real_keystone.url, "clients", "carol", "of-carol")
    finally:
        server.stop()
