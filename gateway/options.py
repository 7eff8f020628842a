"""Every option of the gateway, once: its flags, its environment variable, its key in a file.

What is unknown or wrong is an :class:`OptionError`, whose sentence says where it stood and what would
be right; :mod:`gateway.option_reading` finds the values.
"""

# ruff: noqa: RUF009 - each group's function is dataclasses.field with this table's own columns

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from framework.lease import SESSION_SECONDS
from framework.local.options import DEFAULT_RESOURCES
from gateway import option_values as values
from gateway.auth.addresses import Network
from gateway.auth.rates import Rate
from gateway.pool import MODES

PREFIX = "MESOS_GATEWAY_"


class OptionError(Exception):
    """An option that is unknown, or has a value that cannot be; the start ends with status 2."""


class _Value(NamedTuple):
    """What an option takes: how it is read, and what stands for it in the help."""

    read: Callable[[str], Any]
    shows: str


_FILE = _Value(values.file, "FILE")
_NAME = _Value(values.text, "NAME")
_SECONDS = _Value(values.seconds, "SECONDS")
_SWITCH = _Value(values.truth, "")
_TEXT = _Value(values.text, "TEXT")


def _integer(low: int, high: int) -> _Value:
    return _Value(values.integer(low, high), "N")


def _choice(*choices: str) -> _Value:
    return _Value(values.choice(*choices), "|".join(choices))


def _option(
    group: str,
    default: Any,
    takes: _Value,
    text: str,
    *,
    flags: tuple[str, ...] = (),
    repeats: bool = False,
) -> Any:
    """One row of the table, in the help under ``group``; ``flags`` are more names of it."""
    about = {"text": text, "group": group, "takes": takes, "flags": flags, "repeats": repeats}
    return dataclasses.field(default=default, metadata=about)


_server = partial(_option, "Server")
_access = partial(_option, "Access")
_clusters = partial(_option, "Clusters")
_products = partial(_option, "Product clusters")
_data = partial(_option, "Data clusters")
_replicas = partial(_option, "Replicas")
_embedded = partial(_option, "Embedded Mesos")
_framework = partial(_option, "Framework")
_tasks = partial(_option, "Tasks")
_external = partial(_option, "External")


@dataclasses.dataclass(frozen=True)
class Options:
    """The values of all options; the field ``local_agents`` is the flag ``--local-agents``."""

    port: int = _server(8888, _Value(values.port, "N"), "port to listen on; 0: a free one")
    address: str = _server(
        "127.0.0.1",
        _Value(values.address, "ADDRESS"),
        "address to listen on; without --auth a loopback address",
    )
    executor: str = _server(
        "internal",
        _choice("internal", "external"),
        "who carries requests out: the gateway's own scheduler, or an aurora command line",
    )
    application: str = _server(
        "process", _choice(*MODES), "how requests are executed", flags=("--concurrency",)
    )
    parallel: int = _server(
        (os.cpu_count() or 1) * 16,
        _integer(1, 4096),
        "how many requests are executed at a time (default: 16 per processor)",
    )
    max_body: int = _server(
        4 * 1024 * 1024,
        _Value(values.size, "BYTES"),
        "largest body of a request, in bytes; K, M and G multiply by 1024",
    )
    legacy_status: bool = _server(
        False, _SWITCH, "answer 500 to every failure, as the first release of this API did"
    )
    policy: Path | None = _server(
        None, _FILE, "TOML file that allows docker parameters, host paths, privileged containers, users"
    )
    log_level: str = _server(
        "info", _choice("debug", "info", "warning", "error"), "what is logged, on stderr"
    )

    auth: tuple[str, ...] = _access(
        ("none",),
        _Value(values.authenticators, "none|tokens|basic|jwt|keystone"),
        "who is asked who they are: nobody, or owners of tokens, of passwords, of signed tokens, of "
        "tokens of a Keystone (tokens,basic: both)",
    )
    auth_file: Path | None = _access(
        None, _FILE, "TOML file with users, their roles and the hashes that bin/credentials makes"
    )
    jwt_key: Path | None = _access(
        None,
        _FILE,
        "what signed tokens are verified with: a secret (HS256) or a public key (RS256, PEM)",
    )
    jwt_algorithm: str = _access(
        "HS256", _choice("HS256", "RS256"), "how tokens are signed; no other way is believed"
    )
    jwt_no_expiry: bool = _access(False, _SWITCH, "take signed tokens that never expire, too")
    keystone_url: str | None = _access(
        None, _Value(values.keystone, "URL"), "the Keystone (API v3) whose tokens --auth keystone takes"
    )
    keystone_user: str = _access(
        "mesos-gateway", _NAME, "the user in Keystone who may ask whose a token is"
    )
    keystone_password_file: Path | None = _access(None, _FILE, "holds that user's password")
    keystone_project: str = _access("service", _NAME, "that user's project")
    keystone_domain: str = _access("Default", _NAME, "the domain of that user and project")
    keystone_admin_role: str = _access(
        "admin", _NAME, "the role in Keystone that makes an administrator"
    )
    keystone_ca: Path | None = _access(
        None, _FILE, "authorities (PEM) that have signed Keystone's certificate (default: the system's)"
    )
    read_access: str = _access(
        "own", _choice("own", "any"), "whose jobs a user may read: those of the user's own roles, or any"
    )
    rate_limit: Rate | None = _access(
        None,
        _Value(values.rate, "N[:BURST]"),
        "requests a second of one user (or address, without --auth), and at once; else 429",
    )
    tls_cert: Path | None = _access(None, _FILE, "certificate chain (PEM): serve HTTPS")
    tls_key: Path | None = _access(None, _FILE, "the certificate's key (PEM)")
    tls_client_ca: Path | None = _access(
        None, _FILE, "authorities (PEM): clients must show a certificate that one of them has signed"
    )
    open_metrics: bool = _access(False, _SWITCH, "/metrics asks nobody who they are")
    trusted_proxies: tuple[Network, ...] = _access(
        (),
        _Value(values.networks, "ADDRESS,NETWORK"),
        "proxies whose X-Forwarded-For says where a request comes from",
    )
    audit_log: str | None = _access(
        None, _Value(values.text, "FILE"), "a line of JSON for every change that is asked for; -: stderr"
    )

    cluster_name: str = _clusters(
        "devcluster",
        _Value(values.segment("cluster"), "NAME"),
        "the cluster whose jobs the gateway's own scheduler runs",
    )
    clusters: Path | None = _clusters(None, _FILE, "Aurora's clusters.json")
    master: str = _clusters(
        "local",
        _Value(values.master, "MASTER"),
        "the Mesos master: host:port, zk://host:port/path, or local for an embedded Mesos",
    )
    state: str = _clusters(
        "mesos-gateway.db",
        _Value(values.text, "PATH|URL"),
        "where the scheduler's state is kept: a SQLite file or a SQLAlchemy URL",
    )

    networks: Path | None = _products(
        None, _FILE, "networks that nodes of product clusters are attached to: TOML, or JSON"
    )
    cluster_timeout: float = _products(
        1800.0, _SECONDS, "how long all nodes of a cluster may take until they run, in seconds"
    )
    cluster_history: float = _products(
        30 * 86_400.0, _SECONDS, "how long a deleted cluster's record and events are kept, in seconds"
    )
    cluster_history_size: int = _products(
        10_000, _integer(0, 1_000_000), "of how many deleted clusters that is kept, at most"
    )
    orchestrator_timeout: float = _products(
        1800.0, _SECONDS, "a product's script that has not ended by then is killed"
    )
    orchestrator_uids: range = _products(
        range(64000, 65000),
        _Value(values.uids, "FIRST-LAST"),
        "ids of users that nobody else has: a gateway that is root runs each script as one of them",
    )
    orchestrator_isolation: Literal["auto", "none"] = _products(
        "auto",
        _choice("auto", "none"),
        "how scripts are kept apart: by users and Landlock, or not at all (all of them are trusted)",
    )
    registry: str = _products(
        "internal",
        _Value(values.registry, "internal|consul://HOST:PORT"),
        "the registry that products' scripts use: the gateway's own, or a Consul",
    )

    catalogue: Path | None = _data(
        None, _FILE, "flavors, images and networks that data clusters are made of: TOML"
    )

    ha: str | None = _replicas(
        None,
        _Value(values.zookeeper, "zk://HOST:PORT/PATH"),
        "several gateways share one --state, and elect their leader at this place in ZooKeeper",
    )
    advertise: str | None = _replicas(
        None,
        _Value(values.advertised, "HOST:PORT"),
        "where the other replicas reach this one (default: --address and --port)",
    )
    ha_session: float = _replicas(
        SESSION_SECONDS,
        _Value(values.session, "SECONDS"),
        "a leader that ZooKeeper has not heard of for so many seconds is replaced",
    )

    local_agents: int = _embedded(3, _integer(1, 200), "agents of the embedded Mesos")
    local_resources: str = _embedded(
        DEFAULT_RESOURCES, _TEXT, "resources of each agent; the agents share the ports"
    )
    local_attributes: tuple[str, ...] = _embedded(
        (), _TEXT, "attributes of the agents; once for all of them, or once for each", repeats=True
    )
    local_work_dir: Path | None = _embedded(
        None, _Value(Path, "DIRECTORY"), "directory of its sandboxes (default: a temporary one)"
    )

    framework_name: str = _framework("mesos-gateway", _TEXT, "the framework's name in Mesos")
    framework_role: str = _framework("*", _TEXT, "the Mesos role whose resources it uses")
    framework_user: str = _framework(
        "", _Value(str, "TEXT"), "the user that executors run as (default: the gateway's)"
    )
    principal: str | None = _framework(None, _TEXT, "authenticates the framework, with --secret-file")
    secret_file: Path | None = _framework(None, _FILE, "holds the principal's secret")
    failover_timeout: float = _framework(
        3 * 7 * 86_400.0, _SECONDS, "how long Mesos keeps the tasks while no gateway runs, in seconds"
    )

    executor_command: str = _tasks(
        "", _Value(str, "COMMAND"), "how an agent starts the executor (a path on every agent)"
    )
    executor_uri: str = _tasks(
        "", _Value(str, "URI"), "where agents fetch the executor from (made by bin/pex)"
    )
    task_user: str | None = _tasks(
        None,
        _Value(values.text, "USER"),
        "whom tasks run as: role (their job's role) or one user (default: as the executor)",
    )
    default_image: str | None = _tasks(
        None, _TEXT, "image of tasks that name none (default: no container)"
    )
    pull_policy: str = _tasks("missing", _choice("always", "missing", "never"), "when images are pulled")
    disk_path: str | None = _tasks(
        None,
        _Value(values.disk_path, "PATH"),
        "where agents have their data disks; {disk} and {hostname} are filled in (default: "
        "/data/{disk}; the embedded Mesos has its own)",
    )

    aurora_command: str = _external("aurora", _Value(values.text, "PATH"), "the aurora client to run")
    aurora_client: str = _external("v2", _choice("v1", "v2"), "its verbs: v1 (up to Aurora 0.6) or v2")
    aurora_timeout: float = _external(300.0, _SECONDS, "a command that has not ended by then is killed")


class Row:
    """An option as its names: what :class:`Options` declares, for parsing and for documents."""

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        self.field = field.name
        self.key = field.name.replace("_", "-")
        self.flags = (f"--{self.key}", *field.metadata["flags"])
        self.variables = tuple(PREFIX + f[2:].replace("-", "_").upper() for f in self.flags)
        self.keys = tuple(f[2:] for f in self.flags)
        self.default = field.default
        self.text: str = field.metadata["text"]
        self.group: str = field.metadata["group"]
        self.repeats: bool = field.metadata["repeats"]
        self.is_switch = field.default is False
        self.shows: str = field.metadata["takes"].shows
        self._read: Callable[[str], Any] = field.metadata["takes"].read

    def value(self, texts: Sequence[str], where: str) -> Any:
        """Returns what ``texts`` mean; ``where`` they stood is said if they mean nothing."""
        try:
            read = tuple(self._read(text) for text in texts)
        except ValueError as error:
            raise OptionError(f"{where}: {error}") from None
        return read if self.repeats else read[-1]


TABLE: tuple[Row, ...] = tuple(Row(field) for field in dataclasses.fields(Options))
