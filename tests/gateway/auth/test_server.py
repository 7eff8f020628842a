"""The server as a process: HTTPS, tokens, the audit log, SIGHUP, which addresses it takes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from gateway.auth.passwords import hash_token, new_token
from tests.e2e.harness import Server, eventually
from tests.gateway.auth.conftest import audited
from tests.gateway.test_server import command, refused, start
from tests.measured import Measured, Stopwatch

TOKEN = new_token()
JOB = "/alpha/jobs/devcluster/www-data/prod/hello"


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    about = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words, *about, *files], check=True, capture_output=True)
    return certificate, key


def users(directory: Path, token: str) -> Path:
    path = directory / "users.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'[users.alice]\nroles = ["www-data"]\ntokens = [{{hash = "{hash_token(token)}"}}]\n'
    )
    return path


class Https:
    """Speaks HTTPS to a gateway, trusting one certificate; a connection per call."""

    def __init__(self, server: Server, trusted: Path) -> None:
        host, _, port = server.address.removeprefix("https://").rpartition(":")
        self._address = (host, int(port))
        self._context = ssl.create_default_context(cafile=str(trusted))

    def show(self, certificate: Path, key: Path) -> Https:
        """Has the server see this certificate; returns itself."""
        self._context.load_cert_chain(certificate, key)
        return self

    def call(self, method: str, path: str, token: str = "") -> tuple[int, str]:
        """Returns the status, and the common name that the server showed."""
        status, _, subject = self.exchange(method, path, token)
        return status, subject

    def exchange(self, method: str, path: str, token: str = "") -> tuple[int, bytes, str]:
        """Returns the status, the whole answer, and the common name that the server showed."""
        with (
            socket.create_connection(self._address, timeout=10) as sock,
            self._context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
        ):
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
            head += f"Authorization: Bearer {token}\r\n" if token else ""
            tls.sendall(head.encode() + b"\r\n")
            subject = tls.getpeercert()["subject"]  # type: ignore[index]
            answer = b""
            while data := tls.recv(65536):
                answer += data
        if not answer:
            raise ConnectionError("no answer")
        return int(answer.split()[1]), answer, subject[0][0][1]


def test_https_with_tokens_an_audit_log_and_renewal(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "first")
    file, log = users(tmp_path, TOKEN), tmp_path / "audit.jsonl"
    server = start(
        command(
            "--address=0.0.0.0",
            "--auth=tokens",
            f"--auth-file={file}",
            f"--tls-cert={certificate}",
            f"--tls-key={key}",
            f"--audit-log={log}",
            "--master=127.0.0.1:9",
            f"--state={tmp_path / 'state.db'}",
        ),
        tmp_path,
    )
    try:
        assert server.address.startswith("https://0.0.0.0:")
        server.address = server.address.replace("0.0.0.0", "127.0.0.1")
        https = Https(server, certificate)
        assert https.call("GET", "/alpha/version") == (200, "first")
        assert https.call("GET", JOB)[0] == 401
        assert https.call("GET", JOB, TOKEN)[0] == 404
        assert https.call("DELETE", JOB, TOKEN)[0] == 404
        assert [(e["user"], e["status"]) for e in audited(log)] == [("alice", 404)]

        renewed = new_token()
        users(tmp_path, renewed)
        make_certificate(tmp_path, "second")
        os.rename(log, tmp_path / "audit.1")
        server.process.send_signal(signal.SIGHUP)
        eventually(log.exists, bool)
        https = Https(server, certificate)
        assert https.call("DELETE", JOB, renewed) == (404, "second")
        assert https.call("DELETE", JOB, TOKEN)[0] == 401
        assert len(audited(log)) == 2
        assert server.stop() == 0
    finally:
        server.stop()
    said = server.log.read_text() + log.read_text()
    assert TOKEN not in said
    assert renewed not in said
    assert "Traceback" not in said


def test_clients_show_certificates_of_the_operators_authority(tmp_path: Path) -> None:
    """And when it is another, from the next connection on; a file that is wrong changes nothing."""
    directories = [tmp_path / name for name in ("server", "mine", "foreign")]
    for directory in directories:
        directory.mkdir()
    pairs = [make_certificate(directory, directory.name) for directory in directories]
    (certificate, key), mine, foreign = pairs
    authorities = tmp_path / "ca.pem"
    shutil.copy(mine[0], authorities)
    server = start(
        command(
            "--auth=tokens",
            f"--auth-file={users(tmp_path, TOKEN)}",
            f"--tls-cert={certificate}",
            f"--tls-key={key}",
            f"--tls-client-ca={authorities}",
            "--master=127.0.0.1:9",
            f"--state={tmp_path / 'state.db'}",
        ),
        tmp_path,
    )

    def status(shown: tuple[Path, Path] | None) -> int | None:
        https = Https(server, certificate)
        try:
            return (https.show(*shown) if shown else https).call("GET", "/alpha/version")[0]
        except (ssl.SSLError, ConnectionError):
            return None

    try:
        assert (status(mine), status(foreign), status(None)) == (200, None, None)
        # A certificate lets a client connect; who it is the token says.
        assert Https(server, certificate).show(*mine).call("GET", JOB)[0] == 401
        shutil.copy(foreign[0], authorities)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: status(foreign), lambda found: found == 200)
        assert status(mine) is None
        authorities.write_text("nothing")
        server.process.send_signal(signal.SIGHUP)
        https = Https(server, certificate).show(*foreign)
        eventually(
            lambda: https.exchange("GET", "/health", TOKEN)[1],
            lambda answer: b"--tls-client-ca" in answer and b"stays in use" in answer,
        )
        assert server.stop() == 0
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def test_slow_clients_are_cut_off_and_hold_nobody_up(tmp_path: Path, measured: Measured) -> None:
    """A hundred connections that send a byte a second."""
    server = start(command("--master=127.0.0.1:9", f"--state={tmp_path / 'state.db'}"), tmp_path)
    port = int(server.address.rpartition(":")[2])
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    try:
        for sock in slow:
            sock.setblocking(False)
        request = b"PUT " + JOB.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"
        watch, left, sent, worst = Stopwatch(), set(slow), 0, Stopwatch().stop()
        while left and watch.passed < 120:
            worst = max(worst, _time_of_version(port), key=lambda one: one.own)
            for sock in tuple(left):
                try:
                    # Half of them dawdle over the head, half over the body.
                    part = request if sent == 0 and slow.index(sock) % 2 else request[sent : sent + 1]
                    sock.send(part or b"x")
                    if not sock.recv(4096):
                        left.discard(sock)
                except BlockingIOError:
                    pass
                except OSError:
                    left.discard(sock)
            sent += 1
            # The pace of the attack, not a wait for anything.
            time.sleep(1)
        assert not left
        watch.stop()
        measured("bad input: the last of 100 slow clients cut off after, s", watch.passed)
        measured("bad input: an answer to others meanwhile, at worst, ms", 1e3 * worst.passed)
        assert watch.own < 45
        assert worst.own < 1.0
    finally:
        for sock in slow:
            sock.close()
        server.stop()


def _time_of_version(port: int) -> Stopwatch:
    watch = Stopwatch()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(b"GET /alpha/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert sock.recv(12).endswith(b"200")
    return watch.stop()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--address=0.0.0.0"], "--auth tokens"),
        (["--address=192.0.2.1"], "nobody is asked"),
        (["--auth=tokens"], "--auth tokens needs --auth-file"),
        (["--auth=none,tokens"], "choose"),
        (["--auth=kerberos", "--auth-file=/etc/hostname"], "known are none, tokens, basic"),
        (["--auth=basic", "--auth-file=/no/such"], "there is no file"),
        (["--tls-cert=/etc/hostname"], "--tls-key"),
        (["--tls-cert=/etc/hostname", "--tls-key=/etc/hostname"], "is open to others"),
        (["--tls-client-ca=/etc/hostname"], "needs --tls-cert and --tls-key"),
        (["--trusted-proxies=proxy.example"], "write addresses and networks like"),
        (["--trusted-proxies=10.0.0.1/8"], "has host bits set"),
        (["--trusted-proxies=10.0.0.1,::/0"], "::/0 is everybody"),
        (["--rate-limit=fast"], "is not a rate"),
        (["--rate-limit=0"], "is not a rate"),
        (["--audit-log=/no/such/directory/audit"], "No such file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    run = refused("--master=127.0.0.1:9", f"--state={tmp_path / 's.db'}", *arguments)
    assert run.returncode == 2, run.stderr
    assert says in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
