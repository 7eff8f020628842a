"""Every option of the gateway, once: its flags, its environment variable, its key in a file.

What is unknown or wrong is an :class:`OptionError`, whose sentence says where it stood and what would
be right; :mod:`gateway.option_reading` finds the values.
"""

# ruff: noqa: RUF009 - _option is dataclasses.field with this table's own columns

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from framework.lease import SESSION_SECONDS
from framework.local.options import DEFAULT_RESOURCES
from gateway import option_values as values
from gateway.auth.addresses import Network
from gateway.auth.rates import Rate
from gateway.pool import MODES

PREFIX = "MESOS_GATEWAY_"


class OptionError(Exception):
    """An option that is unknown, or has a value that cannot be; the start ends with status 2."""


def _option(
    default: Any,
    text: str,
    *,
    group: str,
    read: Callable[[str], Any] = str,
    shows: str = "TEXT",
    flags: tuple[str, ...] = (),
    repeats: bool = False,
) -> Any:
    """One row of the table. ``shows`` stands for the value in the help, ``flags`` are more names."""
    about = {"text": text, "group": group, "read": read, "shows": shows, "flags": flags}
    return dataclasses.field(default=default, metadata={**about, "repeats": repeats})


@dataclasses.dataclass(frozen=True)
class Options:
    """The values of all options; the field ``local_agents`` is the flag ``--local-agents``."""

    port: int = _option(
        8888, "port to listen on; 0: a free one", group="Server", read=values.port, shows="N"
    )
    address: str = _option(
        "127.0.0.1",
        "address to listen on; without --auth a loopback address",
        group="Server",
        read=values.address,
        shows="ADDRESS",
    )
    executor: str = _option(
        "internal",
        "who carries requests out: the gateway's own scheduler, or an aurora command line",
        group="Server",
        read=values.choice("internal", "external"),
        shows="internal|external",
    )
    application: str = _option(
        "process",
        "how requests are executed",
        group="Server",
        read=values.choice(*MODES),
        shows="|".join(MODES),
        flags=("--concurrency",),
    )
    parallel: int = _option(
        (os.cpu_count() or 1) * 16,
        "how many requests are executed at a time (default: 16 per processor)",
        group="Server",
        read=values.integer(1, 4096),
        shows="N",
    )
    max_body: int = _option(
        4 * 1024 * 1024,
        "largest body of a request, in bytes; K, M and G multiply by 1024",
        group="Server",
        read=values.size,
        shows="BYTES",
    )
    legacy_status: bool = _option(
        False,
        "answer 500 to every failure, as the first release of this API did",
        group="Server",
        read=values.truth,
        shows="",
    )
    policy: Path | None = _option(
        None,
        "TOML file that allows docker parameters, host paths, privileged containers, users",
        group="Server",
        read=values.file,
        shows="FILE",
    )
    log_level: str = _option(
        "info",
        "what is logged, on stderr",
        group="Server",
        read=values.choice("debug", "info", "warning", "error"),
        shows="debug|info|warning|error",
    )
    auth: tuple[str, ...] = _option(
        ("none",),
        "who is asked who they are: nobody, or owners of tokens, of passwords, of signed tokens, of "
        "tokens of a Keystone (tokens,basic: both)",
        group="Access",
        read=values.authenticators,
        shows="none|tokens|basic|jwt|keystone",
    )
    auth_file: Path | None = _option(
        None,
        "TOML file with users, their roles and the hashes that bin/credentials makes",
        group="Access",
        read=values.file,
        shows="FILE",
    )
    jwt_key: Path | None = _option(
        None,
        "what signed tokens are verified with: a secret (HS256) or a public key (RS256, PEM)",
        group="Access",
        read=values.file,
        shows="FILE",
    )
    jwt_algorithm: str = _option(
        "HS256",
        "how tokens are signed; no other way is believed",
        group="Access",
        read=values.choice("HS256", "RS256"),
        shows="HS256|RS256",
    )
    jwt_no_expiry: bool = _option(
        False,
        "take signed tokens that never expire, too",
        group="Access",
        read=values.truth,
        shows="",
    )
    keystone_url: str | None = _option(
        None,
        "the Keystone (API v3) whose tokens --auth keystone takes",
        group="Access",
        read=values.keystone,
        shows="URL",
    )
    keystone_user: str = _option(
        "mesos-gateway",
        "the user in Keystone who may ask whose a token is",
        group="Access",
        read=values.text,
        shows="NAME",
    )
    keystone_password_file: Path | None = _option(
        None, "holds that user's password", group="Access", read=values.file, shows="FILE"
    )
    keystone_project: str = _option(
        "service", "that user's project", group="Access", read=values.text, shows="NAME"
    )
    keystone_domain: str = _option(
        "Default",
        "the domain of that user and project",
        group="Access",
        read=values.text,
        shows="NAME",
    )
    keystone_admin_role: str = _option(
        "admin",
        "the role in Keystone that makes an administrator",
        group="Access",
        read=values.text,
        shows="NAME",
    )
    keystone_ca: Path | None = _option(
        None,
        "authorities (PEM) that have signed Keystone's certificate (default: the system's)",
        group="Access",
        read=values.file,
        shows="FILE",
    )
    read_access: str = _option(
        "own",
        "whose jobs a user may read: those of the user's own roles, or any",
        group="Access",
        read=values.choice("own", "any"),
        shows="own|any",
    )
    rate_limit: Rate | None = _option(
        None,
        "requests a second of one user (or address, without --auth), and at once; else 429",
        group="Access",
        read=values.rate,
        shows="N[:BURST]",
    )
    tls_cert: Path | None = _option(
        None, "certificate chain (PEM): serve HTTPS", group="Access", read=values.file, shows="FILE"
    )
    tls_key: Path | None = _option(
        None, "the certificate's key (PEM)", group="Access", read=values.file, shows="FILE"
    )
    tls_client_ca: Path | None = _option(
        None,
        "authorities (PEM): clients must show a certificate that one of them has signed",
        group="Access",
        read=values.file,
        shows="FILE",
    )
    open_metrics: bool = _option(
        False, "/metrics asks nobody who they are", group="Access", read=values.truth, shows=""
    )
    trusted_proxies: tuple[Network, ...] = _option(
        (),
        "proxies whose X-Forwarded-For says where a request comes from",
        group="Access",
        read=values.networks,
        shows="ADDRESS,NETWORK",
    )
    audit_log: str | None = _option(
        None,
        "a line of JSON for every change that is asked for; -: stderr",
        group="Access",
        read=values.text,
        shows="FILE",
    )
    cluster_name: str = _option(
        "devcluster",
        "the cluster whose jobs the gateway's own scheduler runs",
        group="Clusters",
        read=values.segment("cluster"),
        shows="NAME",
    )
    clusters: Path | None = _option(
        None, "Aurora's clusters.json", group="Clusters", read=values.file, shows="FILE"
    )
    master: str = _option(
        "local",
        "the Mesos master: host:port, zk://host:port/path, or local for an embedded Mesos",
        group="Clusters",
        read=values.master,
        shows="MASTER",
    )
    state: str = _option(
        "mesos-gateway.db",
        "where the scheduler's state is kept: a SQLite file or a SQLAlchemy URL",
        group="Clusters",
        read=values.text,
        shows="PATH|URL",
    )
    networks: Path | None = _option(
        None,
        "networks that nodes of product clusters are attached to: TOML, or JSON",
        group="Product clusters",
        read=values.file,
        shows="FILE",
    )
    cluster_timeout: float = _option(
        1800.0,
        "how long all nodes of a cluster may take until they run, in seconds",
        group="Product clusters",
        read=values.seconds,
        shows="SECONDS",
    )
    orchestrator_timeout: float = _option(
        1800.0,
        "a product's script that has not ended by then is killed",
        group="Product clusters",
        read=values.seconds,
        shows="SECONDS",
    )
    orchestrator_uids: range = _option(
        range(64000, 65000),
        "ids of users that nobody else has: a gateway that is root runs each script as one of them",
        group="Product clusters",
        read=values.uids,
        shows="FIRST-LAST",
    )
    orchestrator_isolation: Literal["auto", "none"] = _option(
        "auto",
        "how scripts are kept apart: by users and Landlock, or not at all (all of them are trusted)",
        group="Product clusters",
        read=values.choice("auto", "none"),
        shows="auto|none",
    )
    registry: str = _option(
        "internal",
        "the registry that products' scripts use: the gateway's own, or a Consul",
        group="Product clusters",
        read=values.registry,
        shows="internal|consul://HOST:PORT",
    )
    catalogue: Path | None = _option(
        None,
        "flavors, images and networks that data clusters are made of: TOML",
        group="Data clusters",
        read=values.file,
        shows="FILE",
    )
    ha: str | None = _option(
        None,
        "several gateways share one --state, and elect their leader at this place in ZooKeeper",
        group="Replicas",
        read=values.zookeeper,
        shows="zk://HOST:PORT/PATH",
    )
    advertise: str | None = _option(
        None,
        "where the other replicas reach this one (default: --address and --port)",
        group="Replicas",
        read=values.advertised,
        shows="HOST:PORT",
    )
    ha_session: float = _option(
        SESSION_SECONDS,
        "a leader that ZooKeeper has not heard of for so many seconds is replaced",
        group="Replicas",
        read=values.session,
        shows="SECONDS",
    )
    local_agents: int = _option(
        3,
        "agents of the embedded Mesos",
        group="Embedded Mesos",
        read=values.integer(1, 200),
        shows="N",
    )
    local_resources: str = _option(
        DEFAULT_RESOURCES,
        "resources of each agent; the agents share the ports",
        group="Embedded Mesos",
        read=values.text,
    )
    local_attributes: tuple[str, ...] = _option(
        (),
        "attributes of the agents; once for all of them, or once for each",
        group="Embedded Mesos",
        read=values.text,
        repeats=True,
    )
    local_work_dir: Path | None = _option(
        None,
        "directory of its sandboxes (default: a temporary one)",
        group="Embedded Mesos",
        read=Path,
        shows="DIRECTORY",
    )
    framework_name: str = _option(
        "mesos-gateway", "the framework's name in Mesos", group="Framework", read=values.text
    )
    framework_role: str = _option(
        "*", "the Mesos role whose resources it uses", group="Framework", read=values.text
    )
    framework_user: str = _option(
        "", "the user that executors run as (default: the gateway's)", group="Framework"
    )
    principal: str | None = _option(
        None, "authenticates the framework, with --secret-file", group="Framework", read=values.text
    )
    secret_file: Path | None = _option(
        None, "holds the principal's secret", group="Framework", read=values.file, shows="FILE"
    )
    failover_timeout: float = _option(
        3 * 7 * 86_400.0,
        "how long Mesos keeps the tasks while no gateway runs, in seconds",
        group="Framework",
        read=values.seconds,
        shows="SECONDS",
    )
    executor_command: str = _option(
        "", "how an agent starts the executor (a path on every agent)", group="Tasks", shows="COMMAND"
    )
    executor_uri: str = _option(
        "", "where agents fetch the executor from (made by bin/pex)", group="Tasks", shows="URI"
    )
    task_user: str | None = _option(
        None,
        "whom tasks run as: role (their job's role) or one user (default: as the executor)",
        group="Tasks",
        read=values.text,
        shows="USER",
    )
    default_image: str | None = _option(
        None, "image of tasks that name none (default: no container)", group="Tasks", read=values.text
    )
    pull_policy: str = _option(
        "missing",
        "when images are pulled",
        group="Tasks",
        read=values.choice("always", "missing", "never"),
        shows="always|missing|never",
    )
    disk_path: str | None = _option(
        None,
        "where agents have their data disks; {disk} and {hostname} are filled in (default: "
        "/data/{disk}; the embedded Mesos has its own)",
        group="Tasks",
        read=values.disk_path,
        shows="PATH",
    )
    aurora_command: str = _option(
        "aurora", "the aurora client to run", group="External", read=values.text, shows="PATH"
    )
    aurora_client: str = _option(
        "v2",
        "its verbs: v1 (up to Aurora 0.6) or v2",
        group="External",
        read=values.choice("v1", "v2"),
        shows="v1|v2",
    )
    aurora_timeout: float = _option(
        300.0,
        "a command that has not ended by then is killed",
        group="External",
        read=values.seconds,
        shows="SECONDS",
    )


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
        self.shows: str = field.metadata["shows"]
        self.repeats: bool = field.metadata["repeats"]
        self.is_switch = field.default is False
        self._read: Callable[[str], Any] = field.metadata["read"]

    def value(self, texts: Sequence[str], where: str) -> Any:
        """Returns what ``texts`` mean; ``where`` they stood is said if they mean nothing."""
        try:
            read = tuple(self._read(text) for text in texts)
        except ValueError as error:
            raise OptionError(f"{where}: {error}") from None
        return read if self.repeats else read[-1]


TABLE: tuple[Row, ...] = tuple(Row(field) for field in dataclasses.fields(Options))
