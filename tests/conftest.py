"""What every test may use: the recorded material, the Docker gate, hypothesis profiles."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import keystone, zookeeper
from tests.faults import seeds  # noqa: F401 -- draws the number of the run before others are started
from tests.measured import Measured, recorder, summary
from tests.postgres import Postgres, program

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "default",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--alone",
        choices=["only", "never"],
        help="run only the tests that must be alone on the machine, or only the others",
    )


def pytest_configure() -> None:
    """Has programs that tests start hear a SIGINT, also where whoever has started the tests does not:
    what a shell starts in the background ignores it, and so would they."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what ``--alone`` leaves out; what needs images that take long to make comes late.

    Not last: it takes long itself. The last of several processes comes to it half way through what it is
    given at first; what stands behind it the others take over.
    """
    imaged = [item for item in items if item.get_closest_marker("images") is not None]
    rest = [item for item in items if item.get_closest_marker("images") is None]
    late = len(rest) * 7 // 8
    items[:] = rest[:late] + imaged + rest[late:]
    if (wanted := config.getoption("--alone")) is None:
        return
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        alone = item.get_closest_marker("alone") is not None
        (chosen if alone == (wanted == "only") else others).append(item)
    items[:] = chosen
    if others:
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was measured; leaves the words of the last line, and below them the names of what has
    failed, where bin/test finds them, which says them again at its end."""
    lines = list(summary(r for some in terminalreporter.stats.values() for r in some))
    if lines:
        terminalreporter.section("measured")
    for line in lines:
        terminalreporter.write_line(line)
    if path := os.environ.get("MESOS_GATEWAY_TEST_SUMMARY"):
        parts, _ = terminalreporter.build_summary_stats_line()
        bad = [r for kind in ("failed", "error") for r in terminalreporter.stats.get(kind, ())]
        names = dict.fromkeys(report.nodeid for report in bad)
        words = ", ".join(text for text, _ in parts)
        Path(path).write_text("".join(f"{line}\n" for line in (words, *names)))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Keeps a figure for the end of the run; see :mod:`tests.measured`."""
    return recorder(record_property)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The recordings of real peers, which lie beside the project."""
    path = Path(os.environ.get("MESOS_GATEWAY_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the recorded peers are missing: {path} is not a directory")
        pytest.skip(f"needs the recorded peers in {path}")
    return path


@pytest.fixture(scope="session")
def postgres_programs() -> None:
    """Present where PostgreSQL is installed; in CI its absence is a failure, not a skip."""
    if program("initdb") is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: there is no initdb")
        pytest.skip("needs PostgreSQL: there is no initdb (Debian: apt-get install postgresql)")


@pytest.fixture(scope="session")
def postgres(postgres_programs: None) -> Iterator[Postgres]:
    """One server for all tests that do it no harm."""
    server = Postgres()
    server.start()
    yield server
    server.close()


def _docker_problem() -> str | None:
    import docker
    import docker.errors

    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        if host.startswith("unix://"):
            # The SDK leaves a socket behind when its connect fails.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(host.removeprefix("unix://"))
        client = docker.from_env(timeout=60)  # one that is busy answers late
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def docker_daemon() -> None:
    """Present where a Docker daemon answers; in CI its absence is a failure, not a skip."""
    problem = _docker_problem()
    if problem is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"no Docker daemon answers: {problem}")
    pytest.skip(f"needs a Docker daemon: {problem}")


@pytest.fixture(scope="session")
def zookeeper_installed() -> None:
    """A ZooKeeper can be started here; in CI its absence is a failure, not a skip."""
    problem = zookeeper.missing()
    if problem is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"no ZooKeeper can be started: {problem}")
    pytest.skip(f"needs a ZooKeeper: {problem}")


@pytest.fixture(scope="session")
def zookeeper_address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """``host:port`` of a ZooKeeper that all tests share: each has a path of its own there."""
    if given := os.environ.get("MESOS_GATEWAY_TEST_ZOOKEEPER"):
        yield given
        return
    request.getfixturevalue("zookeeper_installed")
    server = zookeeper.ZooKeeper(tmp_path_factory.mktemp("zookeeper"))
    yield server.address
    server.close()


@pytest.fixture
def own_zookeeper(zookeeper_installed: None, tmp_path: Path) -> Iterator[zookeeper.ZooKeeper]:
    """A ZooKeeper that the test may do anything to."""
    directory = tmp_path / "zookeeper"
    directory.mkdir()
    server = zookeeper.ZooKeeper(directory)
    yield server
    server.close()


@pytest.fixture(scope="session")
def real_keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[keystone.Keystone]:
    """A Keystone with the project, the user and the role ``admin``; in CI it must be there."""
    problem = keystone.missing()
    if problem is not None:
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(f"needs a Keystone: {problem} (python -m tests.keystone DIRECTORY installs one)")
    server = keystone.Keystone(tmp_path_factory.mktemp("keystone"))
    yield server
    server.close()
