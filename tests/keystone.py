"""A real Keystone for tests: in an environment of its own, asked and changed over its API.

``python -m tests.keystone DIRECTORY`` makes that environment (some minutes, once): Keystone's hundred
packages are none of the project's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.ports import reserve

RELEASE = "30.0.0"
PASSWORD = "s3cret-of-admin"
_SERVER = Path(__file__).with_name("keystone_server.py")
_PATIENCE = 300.0


def home() -> Path:
    """Where the environment is, outside of the project."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(
        os.environ.get("MESOS_GATEWAY_TEST_KEYSTONE", cache / f"mesos-gateway/keystone-{RELEASE}")
    )


def missing() -> str | None:
    """Returns what is missing to run one, None if nothing is."""
    return None if (home() / "ready").exists() else f"no Keystone is installed in {home()}"


def install(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    constraints = str(_SERVER.with_name("keystone_constraints.txt"))
    subprocess.run([*pip, "--constraint", constraints, f"keystone=={RELEASE}"], check=True)
    (directory / "ready").touch()


class Keystone:
    """``url`` ends with /v3. What makes and grants raises :class:`urllib.error.HTTPError`."""

    def __init__(self, directory: Path) -> None:
        self._reserved = reserve()  # it takes its time until it listens
        port = self._reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v3"
        # -P: this file beside it has the name of what it imports.
        python = [str(home() / "bin" / "python"), "-P"]
        command = [*python, str(_SERVER), str(directory), str(port), PASSWORD]
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _PATIENCE
        while b"ready" not in (directory / "output").read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError((directory / "output").read_text()[-3000:])
            time.sleep(0.1)
        self.admin = self.token("admin", PASSWORD, "admin")

    def token(self, user: str, password: str, project: str) -> str:
        """Returns a token of a user for a project."""
        domain = {"id": "default"}
        who = {"name": user, "domain": domain, "password": password}
        identity = {"methods": ["password"], "password": {"user": who}}
        scope = {"project": {"name": project, "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        found: str = self._call("POST", "/auth/tokens", body, "")[0]["X-Subject-Token"]
        return found

    def make(self, kind: str, **fields: Any) -> str:
        """Makes a project, user … and returns its id."""
        body = {kind: {"domain_id": "default", **fields}}
        found: str = self._call("POST", f"/{kind}s", body, self.admin)[1][kind]["id"]
        return found

    def grant(self, project: str, user: str, role: str) -> None:
        roles = self._call("GET", f"/roles?name={role}", None, self.admin)[1]["roles"]
        path = f"/projects/{project}/users/{user}/roles/{roles[0]['id']}"
        self._call("PUT", path, None, self.admin)

    def offer(self, kind: str, url: str) -> None:
        """Puts a service into the catalog."""
        body = {"service": {"type": kind, "name": kind}}
        service = self._call("POST", "/services", body, self.admin)[1]["service"]["id"]
        endpoint = {"interface": "public", "url": url, "service_id": service, "region_id": "RegionOne"}
        self._call("POST", "/endpoints", {"endpoint": endpoint}, self.admin)

    def revoke(self, token: str) -> None:
        self._call("DELETE", "/auth/tokens", None, self.admin, {"X-Subject-Token": token})

    def _call(
        self, method: str, path: str, body: Any, token: str, more: dict[str, str] | None = None
    ) -> tuple[Any, Any]:
        headers = {"Content-Type": "application/json", **({"X-Auth-Token": token} if token else {})}
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {**headers, **(more or {})},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return answer.headers, json.loads(text) if text else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reserved.close()


class TlsFront:
    """A proxy that speaks TLS before a Keystone; ``url`` is the Keystone's, seen through it."""

    def __init__(self, behind: Keystone, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        address = behind.url.removeprefix("http://").removesuffix("/v3")

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                self.request = context.wrap_socket(
                    self.request, server_side=True, do_handshake_on_connect=False
                )
                super().setup()

            def handle(self) -> None:
                # Who does not believe the certificate goes away.
                with self.request, contextlib.suppress(ssl.SSLError, ConnectionError):
                    self.request.do_handshake()
                    super().handle()

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                inner = http.client.HTTPConnection(address, timeout=60)
                with contextlib.closing(inner):
                    inner.request(self.command, self.path, body, dict(self.headers))
                    answer = inner.getresponse()
                    text = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name in ("Content-Type", "X-Subject-Token"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """It is nobody's concern."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/v3"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


if __name__ == "__main__":
    install(Path(sys.argv[1]))
