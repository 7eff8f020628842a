"""The registry: what an orchestrator script knows of its cluster, and how it reaches the nodes.

    import registry

    cluster = registry.get_cluster()          # the script's own, from CLUSTERDN
    for node in cluster.nodes:
        print(node.name, node.address, node.get("heap", "512"))
        code, out, err = node.run("hostname")
    cluster.status = "running"

Attributes are read from the store each time, and written to it. Values are texts; what is not there is
a :class:`KeyDoesNotExist`. Works against the gateway's own endpoint and against Consul. Needs nothing
but the standard library; ``node.connection()`` needs Fabric.
"""

from __future__ import annotations

import base64
import builtins
import http.client
import json
import os
import re
import shlex
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Cluster",
    "CommandFailed",
    "Disk",
    "KeyDoesNotExist",
    "KeyValueStore",
    "Network",
    "Node",
    "RegistryError",
    "Service",
    "connect",
    "dn_from",
    "get_cluster",
    "id_from",
    "wait_for",
]

DEFAULT_ENDPOINT = "http://127.0.0.1:8500/v1/kv"
_PREFIXES = ("clusters/", "instances/")


class RegistryError(Exception):
    """The registry, or the gateway, has refused something or does not answer."""


class KeyDoesNotExist(RegistryError, AttributeError, KeyError):
    """There is no such key."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Finished(NamedTuple):
    """How a command has ended, and what it has put out."""

    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0


class CommandFailed(RegistryError):
    """A command in a node has ended with a status other than 0."""


# -- the store --


class KeyValueStore:
    """A Consul key-value endpoint, ``http://HOST:PORT/v1/kv``. One that does not answer is tried again
    for ``patience`` seconds; an answer may take ``timeout`` seconds."""

    def __init__(
        self, endpoint: str, token: str | None, *, patience: float = 30.0, timeout: float = 60.0
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self._limits = timeout, patience

    def get(self, key: str) -> str:
        """Returns a value; raises :class:`KeyDoesNotExist`."""
        entries = _listed(self._ask("GET", key), dict)
        if not entries:
            raise KeyDoesNotExist(f"the registry has no key {key}")
        return _text(entries[0]["Value"])

    def tree(self, key: str) -> dict[str, str]:
        """Returns what lies below a key, by whole keys."""
        entries = _listed(self._ask("GET", f"{key}/", {"recurse": "true"}), dict)
        return {entry["Key"]: _text(entry["Value"]) for entry in entries}

    def names(self, key: str) -> list[str]:
        """Returns the names just below a key."""
        prefix = key.lstrip("/") + "/"
        found = _listed(self._ask("GET", prefix, {"keys": "true", "separator": "/"}), str)
        return [name for item in found if (name := item[len(prefix) :].rstrip("/"))]

    def set(self, key: str, value: Any) -> None:
        """Stores a value, as text."""
        self._ask("PUT", key, body=_written(value).encode())

    def delete(self, key: str, recurse: bool = False) -> None:
        """Removes a key, or all that begin with it."""
        self._ask("DELETE", key, {"recurse": "true"} if recurse else None)

    def _ask(
        self,
        method: str,
        key: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> bytes | None:
        url = f"{self.endpoint}/{urllib.parse.quote(key.lstrip('/'))}"
        if parameters:
            url += "?" + urllib.parse.urlencode(parameters)
        return _request(method, url, self._token, body, *self._limits)


def _request(
    method: str, url: str, token: str | None, body: bytes | None, timeout: float = 60, retry: float = 30
) -> bytes | None:
    """Returns the body of the answer, None for 404; tries for ``retry`` seconds where nobody answers."""
    headers = {"X-Auth-Token": token} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    until = time.monotonic() + retry
    pause = 0.2
    while True:
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with _opener().open(request, timeout=timeout) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code != 503 or time.monotonic() >= until:
                raise RegistryError(f"{method} {url}: {error.code} {_reason(error)}") from None
        except (OSError, http.client.HTTPException) as error:
            # A command must not run twice; reading, and writing the same value again, does no harm.
            # A certificate that is wrong stays so.
            why = getattr(error, "reason", None) or error
            wrong = isinstance(why, ssl.SSLCertVerificationError)
            if wrong or method == "POST" or time.monotonic() >= until:
                raise RegistryError(f"{method} {url}: {why}") from None
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _opener() -> urllib.request.OpenerDirector:
    # A proxy of the environment is not for the gateway.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    certificate = os.environ.get("GATEWAY_CERTIFICATE")
    if certificate:
        # Just this one: no other server has its key, so its name says nothing more.
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        body = error.read(4096).decode("utf-8", "replace")
        found = json.loads(body)
        return str(found.get("message", body)) if isinstance(found, dict) else body
    except (OSError, http.client.HTTPException):
        return error.reason
    except ValueError:
        return body.strip() or error.reason


def _listed(answer: bytes | None, kind: type) -> list[Any]:
    """Returns what an answer lists, nothing for none."""
    try:
        found = json.loads(answer or b"[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
        raise RegistryError(f"this is no registry's answer: {(answer or b'')[:60]!r}")
    return found


def _text(value: str | None) -> str:
    return "" if value is None else base64.b64decode(value).decode("utf-8", "replace")


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if value is None or isinstance(value, bool | list | dict):
        return "" if value is None else json.dumps(value)
    return str(value)


_stores: list[KeyValueStore] = []


def connect(endpoint: str | None = None, token: str | None = None) -> None:
    """Uses the store at ``endpoint`` from now on; by default that of the environment (REGISTRY)."""
    _stores[:] = [
        KeyValueStore(
            endpoint or os.environ.get("REGISTRY") or DEFAULT_ENDPOINT,
            token or os.environ.get("CLUSTER_TOKEN"),
        )
    ]


def _store() -> KeyValueStore:
    if not _stores:
        connect()
    return _stores[0]


# -- names --


def id_from(dn: str) -> str:
    """Returns the id of a cluster: ``clusters--user--product--1_0--3`` has ``.`` as ``__``."""
    return str(dn).strip("/").replace("/", "--").replace(".", "__")


def dn_from(id: str) -> str:
    """Returns the distinguished name that an id stands for."""
    return id.replace("--", "/").replace("__", ".")


def get_cluster(
    user: str | None = None,
    product: str | None = None,
    version: str | None = None,
    id: str | int | None = None,
    dn: str | None = None,
) -> Cluster:
    """Returns a cluster, by its parts or by its ``dn``; without any, the one that the script is for."""
    if dn is None and user is None:
        dn = os.environ.get("CLUSTERDN")
        if not dn:
            raise RegistryError("name a cluster: CLUSTERDN is not set")
    return Cluster(dn or f"clusters/{user}/{product}/{version}/{id}")


# -- what stands there --


class _Record:
    """Something with keys of its own: its attributes are those."""

    _dn: str

    def __init__(self, dn: str) -> None:
        object.__setattr__(self, "_dn", str(dn).strip("/"))

    @property
    def dn(self) -> str:
        return self._dn

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return _store().get(f"{self._dn}/{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            self.set(name, value)

    def get(self, name: str, default: Any = None) -> Any:
        """Returns a property, also one whose name is no identifier; ``default`` if there is none."""
        try:
            return _store().get(f"{self._dn}/{name}")
        except KeyDoesNotExist:
            return default

    def set(self, name: str, value: Any) -> None:
        """Stores a property."""
        _store().set(f"{self._dn}/{name}", value)

    def __str__(self) -> str:
        return self._dn

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._dn!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Record) and self._dn == other._dn

    def __lt__(self, other: _Record) -> bool:
        return _natural(self._dn) < _natural(other._dn)

    def __hash__(self) -> int:
        return hash(self._dn)

    def _members(self, kind: str) -> list[str]:
        """Returns the names of what there is of a kind, in order: node2 before node10."""
        return sorted(set(_store().names(f"{self._dn}/{kind}")), key=_natural)

    def _parent(self, kind: str) -> str:
        return self._dn.rpartition(f"/{kind}/")[0]

    def _set_members(self, kind: str, members: Iterable[_Record | str]) -> None:
        wanted = [str(member).rpartition("/")[2] for member in members]
        for name in self._members(kind):
            if name not in wanted:
                _store().delete(f"{self._dn}/{kind}/{name}")
        for name in wanted:
            _store().set(f"{self._dn}/{kind}/{name}", "")


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(w) if w.isdecimal() else -1, w) for w in re.findall("[0-9]+|[^0-9]+", text)]


class Disk(_Record):
    """``name``, ``origin``, ``destination``, ``mode``."""


class Network(_Record):
    """``name``, ``networkname``, ``address``, ``gateway``, ``netmask`` (the length of the prefix)."""


class Service(_Record):
    """``name``, ``status``, and its properties."""

    @property
    def cluster(self) -> Cluster:
        return Cluster(self._parent("services"))

    @property
    def nodes(self) -> builtins.list[Node]:
        parent = self._parent("services")
        return [Node(f"{parent}/nodes/{name}") for name in self._members("nodes")]

    @nodes.setter
    def nodes(self, nodes: Iterable[Node | str]) -> None:
        self._set_members("nodes", nodes)


class Node(_Record):
    """``name``, ``status``, ``host``, ``cpu``, ``mem``, ``docker_image``, ``address``, and its
    properties."""

    @property
    def cluster(self) -> Cluster:
        return Cluster(self._parent("nodes"))

    @property
    def disks(self) -> builtins.list[Disk]:
        return [Disk(f"{self._dn}/disks/{name}") for name in self._members("disks")]

    @property
    def networks(self) -> builtins.list[Network]:
        return [Network(f"{self._dn}/networks/{name}") for name in self._members("networks")]

    @property
    def services(self) -> builtins.list[Service]:
        parent = self._parent("nodes")
        return [Service(f"{parent}/services/{name}") for name in self._members("services")]

    @property
    def tags(self) -> builtins.list[str]:
        return [tag.strip() for tag in str(self.get("tags", "")).split(",") if tag.strip()]

    def run(
        self,
        command: str | Sequence[str],
        input: str | bytes | None = None,
        timeout: float = 60.0,
        check: bool = True,
    ) -> Finished:
        """Runs a command in the node - in its container, or beside its processes - as root.

        A text is a shell's command line, a list the words of a command, ``input`` what it reads. A
        status other than 0 is a :class:`CommandFailed` unless ``check`` is False; so is a command that
        did not run, or did not end by itself within ``timeout`` seconds. Needs no SSH.
        """
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        body: dict[str, Any] = {"argv": argv, "timeout": timeout}
        if input is not None:
            body["stdin"] = input.decode() if isinstance(input, bytes) else input
        answer = _gateway(f"{self._dn}/exec", body, timeout + 60.0)
        shown = command if isinstance(command, str) else shlex.join(command)
        if answer["code"] is None:
            raise CommandFailed(f"{shown!r} in {self._dn}: {answer['problem']}")
        done = Finished(int(answer["code"]), str(answer["stdout"]), str(answer["stderr"]))
        if check and not done.ok:
            raise CommandFailed(
                f"{shown!r} ended with status {done.code} in {self._dn}: "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file into the node, with the directories above it."""
        where = shlex.quote(path)
        directory = shlex.quote(os.path.dirname(path) or "/")
        script = f"mkdir -p {directory} && cat > {where}.new && chmod {mode:o} {where}.new"
        script += f" && mv {where}.new {where}"
        self.run(script, input=text)

    def connection(self, user: str = "root", **arguments: Any) -> Any:
        """Returns a ``fabric.Connection`` to the node: with the cluster's key, and to nobody else.

        A server that does not show the node's own key is not talked to.
        """
        import fabric
        import paramiko

        key = os.environ.get("SSH_KEY")
        if not key:
            raise RegistryError("there is no SSH key of the cluster here (SSH_KEY is not set)")
        options = {"key_filename": key, "look_for_keys": False, "allow_agent": False}
        options |= arguments.pop("connect_kwargs", {})
        connection = fabric.Connection(
            self._reachable(), user=user, connect_kwargs=options, **{"connect_timeout": 30, **arguments}
        )
        connection.client.get_host_keys().clear()
        connection.client.load_host_keys(os.environ["SSH_KNOWN_HOSTS"])
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return connection

    def _reachable(self) -> str:
        return str(self.get("address", "") or self.get("host", "") or self.name)


class Cluster(_Record):
    """``name``, ``status``, ``dnsname``, and what else has been stored."""

    @property
    def id(self) -> str:
        return id_from(self._dn)

    @property
    def nodes(self) -> builtins.list[Node]:
        return [Node(f"{self._dn}/nodes/{name}") for name in self._members("nodes")]

    @property
    def services(self) -> builtins.list[Service]:
        return [Service(f"{self._dn}/services/{name}") for name in self._members("services")]

    def node(self, name: str) -> Node:
        return Node(f"{self._dn}/nodes/{name}")

    def service(self, name: str) -> Service:
        return Service(f"{self._dn}/services/{name}")


def _gateway(path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    url = os.environ.get("GATEWAY_URL")
    if not url:
        raise RegistryError("where the gateway is, is not known (GATEWAY_URL is not set)")
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            path = "clusters/" + path[len(prefix) :]
    address = f"{url.rstrip('/')}/bigdata/api/v1/{urllib.parse.quote(path)}"
    token = os.environ.get("CLUSTER_TOKEN")
    answer = _request("POST", address, token, json.dumps(body).encode(), timeout)
    if answer is None:
        raise KeyDoesNotExist(f"the gateway has no {path}")
    found: dict[str, Any] = json.loads(answer)
    return found


def wait_for(
    condition: Any, timeout: float = 300.0, pause: float = 0.5, what: str = "the condition"
) -> Any:
    """Calls ``condition`` until it gives something true, and returns that.

    A :class:`RegistryError` counts as "not yet". Raises ``TimeoutError`` after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            value = condition()
        except RegistryError as error:
            value, what = None, f"{what} ({error})" if "(" not in what else what
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} has not come to pass within {timeout:g} seconds")
        time.sleep(pause)
