"""Every option of the gateway, once: its flags, its environment variable, its key in a file.

A value comes from the command line, else from the environment (``MESOS_GATEWAY_PORT``), else from
the TOML file of ``--config`` (``port = 8888``), else it is the default. What is unknown or wrong is
an :class:`OptionError`, whose sentence says where it stood and what would be right.
"""

# ruff: noqa: RUF009 - _option is dataclasses.field with this table's own columns

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
        "who is asked who they are: nobody, or owners of tokens, of passwords (tokens,basic: both)",
        group="Access",
        read=values.authenticators,
        shows="none|tokens|basic",
    )
    auth_file: Path | None = _option(
        None,
        "TOML file with users, their roles and the hashes that bin/credentials makes",
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
_ASIDE = ("--config", "--help", "--version")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What stood on the command line: texts by field, and what only a command line has."""

    given: Mapping[str, tuple[str, ...]]
    config: str | None = None
    help: bool = False
    version: bool = False


def parse_arguments(argv: Sequence[str]) -> CommandLine:
    """Reads flags (``--port=1``, ``--port 1``); raises :class:`OptionError`."""
    rows = {flag: row for row in TABLE for flag in row.flags}
    given: dict[str, tuple[str, ...]] = {}
    aside: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in ("--help", "-h", "--version"):
            aside["help" if flag in ("--help", "-h") else "version"] = True
            continue
        if flag not in rows and flag != "--config":
            raise OptionError(_unknown(word, [*rows, *_ASIDE]))
        row = rows.get(flag)
        if not equals and row is not None and row.is_switch:
            value = "true"
        elif not equals:
            if not words or words[0].startswith("--"):
                raise OptionError(f"{flag} needs a value: {flag}={row.shows if row else 'FILE'}")
            value = words.pop(0)
        if row is None:
            aside["config"] = value
        else:
            before = given.get(row.field, ()) if row.repeats else ()
            given[row.field] = (*before, value)
    return CommandLine(given, **aside)


def resolve(line: CommandLine, environment: Mapping[str, str]) -> Options:
    """Returns all options: command line before environment before file before default."""
    path = line.config or environment.get(PREFIX + "CONFIG")
    stored = read_file(Path(path)) if path else {}
    chosen: dict[str, Any] = {}
    for row in TABLE:
        if row.field in line.given:
            chosen[row.field] = row.value(line.given[row.field], row.flags[0])
        elif variable := next((v for v in row.variables if v in environment), None):
            chosen[row.field] = row.value(_several(row, environment[variable]), variable)
        elif row.field in stored:
            chosen[row.field] = row.value(stored[row.field], f"{path}: {row.key}")
    return _together(Options(**chosen))


def _together(options: Options) -> Options:
    """Returns the options; raises :class:`OptionError` where two of them do not go together."""
    if (options.tls_cert is None) is not (options.tls_key is None):
        raise OptionError("--tls-cert and --tls-key go together: a certificate, and its key")
    if options.tls_client_ca is not None and options.tls_cert is None:
        raise OptionError("--tls-client-ca needs --tls-cert and --tls-key: clients show theirs over TLS")
    if options.auth == ("none",) and not values.is_loopback(options.address):
        raise OptionError(
            f"--address: {options.address} could be reached from other machines, and nobody is asked "
            "who they are: whoever reached it could run anything. Ask with --auth tokens or --auth "
            "basic, or listen on 127.0.0.1"
        )
    return options


def _several(row: Row, text: str) -> tuple[str, ...]:
    """An environment variable holds the values of an option that repeats with "|" between them."""
    return tuple(text.split("|")) if row.repeats else (text,)


def read_file(path: Path) -> dict[str, tuple[str, ...]]:
    """Returns the values of a TOML file as texts, by field. Raises :class:`OptionError`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config: {path} is not TOML: {error}") from None
    rows = {key: row for row in TABLE for key in row.keys}
    found: dict[str, tuple[str, ...]] = {}
    for name, value in table.items():
        row = rows.get(name.replace("_", "-"))
        if row is None:
            raise OptionError(f"{path}: {_unknown(name, list(rows))}")
        found[row.field] = _texts(row, value, f"{path}: {name}")
    return found


def _texts(row: Row, value: Any, where: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) and row.repeats else [value]
    texts = []
    for one in several:
        if not isinstance(one, str | int | float):
            raise OptionError(f"{where}: {type(one).__name__} is not what this option takes")
        texts.append(str(one).lower() if isinstance(one, bool) else str(one))
    return tuple(texts)


def _unknown(word: str, known: Sequence[str]) -> str:
    name = word.partition("=")[0]
    if not word.startswith("--") and known[0].startswith("--"):
        return f"{word[:60]!r} is not an option; options begin with --, see --help"
    near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
    return f"unknown option {name[:60]}" + (f"; did you mean {near[0]}?" if near else "; see --help")
