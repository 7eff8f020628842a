"""Scripts of products as processes: how they are called, bounded, ended - and what they cannot reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from framework.model.errors import Unavailable
from gateway.clusters.isolation import Isolator, Limits
from gateway.clusters.scripts import MOST_LINES, MOST_OUTPUT, RunResult, Script, ScriptRunner
from gateway.clusters.supervisor import landlock_version
from tests.framework.mesos.peer import eventually

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    # Not pytest's own: others may not even pass through that one.
    with tempfile.TemporaryDirectory(prefix="scripts-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


@pytest.fixture(scope="module")
def runner(base: Path) -> ScriptRunner:
    return ScriptRunner(Isolator(limits=Limits(file_bytes=1024 * 1024)), base)


def run(
    runner: ScriptRunner, source: str, verb: str = "start", timeout: float = 60.0, **more: Any
) -> tuple[RunResult, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    script = Script(textwrap.dedent(source), more.get("environment", {}), more.get("files", ()))
    result = runner.run(
        script,
        verb,
        timeout=timeout,
        on_line=lambda stream, line: lines.append((stream, line)),
        cancelled=more.get("cancelled", lambda: False),
    )
    return result, lines


# -- how they are called --

FABFILE = """\
    #!/usr/bin/env python
    from fabric import task

    @task
    def start(c):
        c.run("echo started in a shell")

    @task
    def tell_all(c):
        print("told")

    def status():
        print("a plain function")

    def stop(c):
        print("a context is here:", hasattr(c, "run"))
        return 7

    @task
    def restart(c):
        raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("verb", "code", "said"),
    [
        ("start", 0, "started in a shell"),
        ("tell_all", 0, "told"),
        ("status", 0, "a plain function"),
        ("stop", 7, "a context is here: True"),
        ("restart", 3, ""),
    ],
)
def test_the_tasks_of_a_fabfile_are_its_verbs(
    runner: ScriptRunner, verb: str, code: int, said: str
) -> None:
    result, _ = run(runner, FABFILE, verb)
    assert (result.code, result.stdout.strip(), result.ended) == (code, said, "itself"), result.stderr


def test_a_fabfile_without_the_task_says_so(runner: ScriptRunner) -> None:
    result, _ = run(runner, FABFILE, "resize")
    assert (result.code, result.stderr.strip()) == (64, "the fabfile has no task resize")


def test_a_program_takes_the_verb_as_its_argument(runner: ScriptRunner) -> None:
    result, lines = run(runner, '#!/bin/sh\necho "verb $1"; echo oops >&2; exit 5\n', "status")
    assert (result.code, result.stdout, result.stderr) == (5, "verb status\n", "oops\n")
    assert sorted(lines) == [("stderr", "oops"), ("stdout", "verb status")]


def test_a_script_has_its_files_and_a_clean_environment(runner: ScriptRunner) -> None:
    os.environ["GATEWAY_SECRET_OF_THE_TEST"] = "hidden"
    try:
        result, _ = run(
            runner,
            """\
            #!/usr/bin/env python3
            import os, stat, sys
            print(sorted(os.environ))
            print(open(os.environ["SSH_KEY"]).read(), oct(os.stat(os.environ["SSH_KEY"]).st_mode)[-3:])
            print(os.getcwd() == os.environ["HOME"], oct(os.stat(".").st_mode)[-3:])
            import registry, fabric
            print("gateway" in sys.modules)
            try:
                import gateway
            except ImportError:
                print("the gateway is not there")
            """,
            files=[("id_ed25519", "the key")],
            environment={"SSH_KEY": "{directory}/id_ed25519", "CLUSTERDN": "clusters/u/p/v/1"},
        )
    finally:
        del os.environ["GATEWAY_SECRET_OF_THE_TEST"]
    variables, key, place, modules, gateway = result.stdout.splitlines()
    assert "GATEWAY_SECRET_OF_THE_TEST" not in variables
    assert {"CLUSTERDN", "SSH_KEY", "HOME", "PATH", "LANG"} <= set(eval(variables))
    assert (key, place, modules) == ("the key 600", "True 700", "False")
    assert gateway == "the gateway is not there"


# -- bounds --


def test_output_is_kept_up_to_a_mebibyte(runner: ScriptRunner) -> None:
    result, lines = run(runner, "#!/bin/sh\nyes 0123456789 | head -c 3000000\nprintf end >&2\n")
    assert len(result.stdout) == MOST_OUTPUT
    assert result.dropped == 3_000_000 - MOST_OUTPUT
    assert (result.code, result.stderr) == (0, "end")
    told = [line for stream, line in lines if stream == "stdout"]
    assert len(told) == MOST_LINES + 1
    assert told[-2:] == ["0123456789", f"… more than {MOST_LINES} lines"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_long_line_is_told_in_pieces(runner: ScriptRunner, end: str) -> None:
    """With all that is in it, however much of it is read at a time."""
    written = "".join(f"{number:05d}" for number in range(8000)) + end
    result, lines = run(
        runner,
        f"""\
        #!/usr/bin/env python3
        import os
        text = "".join(f"{{number:05d}}" for number in range(8000)) + {end!r}
        os.write(1, text.encode())
        """,
    )
    assert result.stdout == written
    assert all(0 < len(line) <= 4096 for _, line in lines)
    assert "".join(line for _, line in lines) == written.rstrip("\n")


def test_a_run_that_takes_too_long_is_ended(
    runner: ScriptRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that makes a leap once the script has begun, however long that takes."""
    lines: list[tuple[str, str]] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * bool(lines))
    monkeypatch.setattr("gateway.clusters.scripts.time", clock)
    result = runner.run(
        Script("#!/bin/sh\necho begun\nexec sleep 1000\n", {}),
        "start",
        timeout=600.0,
        on_line=lambda stream, line: lines.append((stream, line)),
        cancelled=lambda: False,
    )
    assert (result.ended, result.code, lines) == ("timeout", 128 + signal.SIGTERM, [("stdout", "begun")])


def test_a_run_that_does_not_listen_is_killed(runner: ScriptRunner) -> None:
    begun: list[str] = []
    result = runner.run(
        Script("#!/bin/sh\ntrap '' TERM\necho begun\nwhile :; do sleep 1; done\n", {}),
        "start",
        timeout=60.0,
        on_line=lambda _, line: begun.append(line),
        cancelled=lambda: bool(begun),
    )
    assert (result.ended, result.code) == ("cancelled", 128 + signal.SIGKILL)


def test_a_script_that_closes_its_output_goes_on(runner: ScriptRunner) -> None:
    result, _ = run(runner, "#!/bin/sh\necho said\nexec >&- 2>&-\nsleep 1\nexit 4\n")
    assert (result.code, result.stdout, result.ended) == (4, "said\n", "itself")


def test_what_a_script_leaves_behind_ends_with_it(runner: ScriptRunner) -> None:
    """Also what has left its session and lost its parent."""
    result, _ = run(
        runner,
        """\
        #!/usr/bin/env python3
        import os, subprocess, sys
        code = "import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()"
        code += "\\nprint(os.getpid(), flush=True)\\ntime.sleep(1000)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.wait()
        # What it leaves may take its time to say who it is.
        print(int(child.stdout.readline()))
        """,
    )
    pid = int(result.stdout)
    assert result.code == 0
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.skipif(not ROOT, reason="only a user of its own has a limit to its processes")
def test_a_script_that_does_nothing_but_fork_is_ended(base: Path) -> None:
    """Who kills its processes one by one makes room for others of it."""
    uid = 64_990
    source = """\
        #!/usr/bin/env python3
        import os
        if os.fork():
            os._exit(3)
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """
    isolator = Isolator(uids=range(uid, uid + 1), limits=Limits(processes=200))
    result, _ = run(ScriptRunner(isolator, base), source)
    assert (result.ended, result.code) == ("itself", 3)
    left = [path for path in Path("/proc").glob("[0-9]*") if path.exists() and path.stat().st_uid == uid]
    assert left == []


def test_no_script_outlives_the_gateway(base: Path) -> None:
    """kill -9 of the process that runs it; nothing is told to anybody."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from gateway.clusters.isolation import Isolator
        from gateway.clusters.scripts import Script, ScriptRunner

        script = Script("#!/bin/sh\\ntrap '' TERM\\nsetsid sleep 1000 &\\necho $$ $!\\nwait\\n", {})
        ScriptRunner(Isolator(), Path(sys.argv[1])).run(
            script, "start", timeout=600, on_line=lambda s, line: print(line, flush=True),
            cancelled=lambda: False,
        )
        """
    )
    with subprocess.Popen([sys.executable, "-c", code, str(base)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        process.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60)
    eventually(lambda: list(base.iterdir()) == [], 60)


@pytest.mark.parametrize(
    "source",
    [
        "#!/bin/sh\nhead -c 9000000 /dev/zero > big\n",
        "#!/usr/bin/env python3\nbytearray(64 * 1024**3)\n",
    ],
)
def test_limits_hold(runner: ScriptRunner, source: str) -> None:
    assert run(runner, source)[0].code != 0


def test_nothing_stays_in_the_base_directory(runner: ScriptRunner, base: Path) -> None:
    run(runner, "#!/bin/sh\nmkdir -p a/b\ntouch a/b/c\nchmod 0 a\n")
    assert list(base.iterdir()) == []


def test_a_program_that_is_none_is_told(runner: ScriptRunner) -> None:
    result, _ = run(runner, "#!/no/such/interpreter\n")
    assert result.code == 125
    assert result.stderr.startswith("the script cannot be started: No such file")


# -- what they cannot reach --

SPY = """\
    #!/usr/bin/env python3
    import os, sys
    for path in os.environ["SPIED"].split(":"):
        try:
            with open(path, "rb") as file:
                print("READ", path, len(file.read()))
        except OSError as error:
            print("no", path, error.strerror)
        try:
            print("LISTED", os.listdir(os.path.dirname(path)) and path)
        except OSError:
            pass
    try:
        os.kill(int(os.environ["GATEWAY"]), 0)
        print("SIGNALLED")
    except OSError:
        pass
    print("uid", os.getuid(), os.getgroups())
"""


def spied_on(base: Path) -> list[Path]:
    """The state of a gateway, another script's directory, a credential, the gateway's memory."""
    state = base / "state.db"
    other = base / "orchestrator-other"
    other.mkdir(mode=0o700, exist_ok=True)
    paths = [state, other / "id_ed25519"]
    for path in paths:
        path.write_text("secret")
        path.chmod(0o600)
    return [*paths, Path(f"/proc/{os.getpid()}/environ"), Path(f"/proc/{os.getpid()}/maps")]


def spy(runner: ScriptRunner, base: Path) -> RunResult:
    environment = {"SPIED": ":".join(map(str, spied_on(base))), "GATEWAY": str(os.getpid())}
    return run(runner, SPY, environment=environment)[0]


def test_a_script_reads_nothing_of_others() -> None:
    with tempfile.TemporaryDirectory(prefix="scripts-") as directory:
        os.chmod(directory, 0o711)
        base = Path(directory)
        result = spy(ScriptRunner(Isolator(), base), base)
        assert result.code == 0, result.stderr
        lines = result.stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["no"] * 4 + ["uid"], lines
        if ROOT:
            assert 64000 <= int(lines[-1].split()[1]) < 65000
            assert lines[-1].endswith("[]")


@pytest.mark.skipif(not ROOT, reason="only root gives users")
def test_each_run_has_a_user_of_its_own(runner: ScriptRunner) -> None:
    users = {run(runner, "#!/bin/sh\nid -u\n")[0].stdout for _ in range(3)}
    assert len(users) == 3


def test_without_isolation_only_where_the_operator_says_so() -> None:
    """Then it reads what the gateway can: the spy is able to find something."""
    with tempfile.TemporaryDirectory(prefix="scripts-") as directory:
        base = Path(directory)
        trusted = ScriptRunner(Isolator("none"), base)
        words = [line.split()[0] for line in spy(trusted, base).stdout.splitlines()]
    assert words.count("READ") == 4
    assert "SIGNALLED" in words
    assert trusted.problem() is None
    assert run(trusted, "#!/bin/sh\nid -u\n")[0].stdout.strip() == str(os.geteuid())


def test_where_nothing_is_possible_scripts_are_refused(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.clusters.isolation.landlock_version", lambda: 0)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    isolator = Isolator()
    assert "--orchestrator-isolation none" in (isolator.problem() or "")
    with pytest.raises(Unavailable, match="cannot be kept apart"), isolator.confine(base):
        pass


def test_as_many_scripts_as_users(base: Path) -> None:
    if not ROOT:
        return
    isolator = Isolator(uids=range(64000, 64001))
    one, two = base / "one", base / "two"
    one.mkdir()
    two.mkdir()
    with isolator.confine(one) as confinement:
        assert confinement.uid == 64000 == one.stat().st_uid
        with pytest.raises(Unavailable, match="as many scripts"), isolator.confine(two):
            pass
    with isolator.confine(two):
        pass
    one.rmdir()
    two.rmdir()


def test_whoever_is_not_root_has_landlock() -> None:
    """The same spy, run by a gateway that has dropped to another user."""
    if landlock_version() == 0 or not ROOT:
        return  # who is not root has just been tested
    code = textwrap.dedent(
        """
        import os, sys
        sys.path[:0] = [sys.argv[2]]
        from pathlib import Path
        from tests.gateway.products.test_scripts import spy
        from gateway.clusters import supervisor
        from gateway.clusters.isolation import Isolator
        from gateway.clusters.scripts import ScriptRunner

        base = Path(sys.argv[1])
        os.chown(base, 65534, 65534)
        # Reading as root does lets it find its own modules, wherever they are installed.
        supervisor._switch_user(65534, reads_all=True)
        result = spy(ScriptRunner(Isolator(), base / "runs"), base)
        print(result.stdout, result.stderr, end="")
        """
    )
    project = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory(prefix="scripts-") as directory:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        done = subprocess.run(
            [sys.executable, "-c", code, directory, str(project)],
            capture_output=True, text=True, timeout=120, env=environment, check=False,
        )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if landlock_version() < 6:  # older ones let processes of one user signal each other
        lines = [line for line in lines if line != "SIGNALLED"]
    assert [line.split()[0] for line in lines] == ["no"] * 4 + ["uid"], done
    assert lines[-1].startswith("uid 65534")
