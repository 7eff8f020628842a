"""The command line of ``python -m framework.local``, checked and turned into settings."""

from __future__ import annotations

import argparse
import ipaddress
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from framework.local import attributes, durations, resources
from framework.local.settings import DATA_DISKS, AgentConfig, AgentTimes, MasterConfig, MasterTimes

_AMOUNTS = "cpus:4;mem:4096;disk:10240;ports:[31000-31999]"
DEFAULT_RESOURCES = f"{_AMOUNTS};{DATA_DISKS}:{{disk1,disk2,disk3,disk4}}"
# Of the work directory: where the data disk {disk} of the agent {hostname} is.
DISK_PATH = "disks/{hostname}/{disk}"
_MAX_AGENTS = 200


class Options(msgspec.Struct, frozen=True):
    """A cluster as the command line describes it. ``work_dir`` None: a temporary one."""

    address: str
    port: int
    agents: int
    resources: tuple[str, ...]
    attributes: tuple[str, ...]
    agent_addresses: tuple[str, ...]
    agent_ports: tuple[int, ...]
    work_dir: Path | None
    master_times: MasterTimes
    agent_times: AgentTimes
    credentials: dict[str, str] | None
    follow: str | None
    # the pid of the process to die with; 0: whichever started this one; None: none
    parent: int | None
    ephemeral: bool
    ready_fd: int | None
    restart_delay: float
    log_level: str

    def master(self, work_dir: Path) -> MasterConfig:
        return MasterConfig(
            address=self.address,
            port=self.port,
            work_dir=str(work_dir / "master"),
            times=self.master_times,
            credentials=self.credentials,
            follow=self.follow,
        )

    def agent_configs(self, work_dir: Path, master_pid: int, master_port: int) -> list[AgentConfig]:
        """Returns one config per agent, numbered from 1."""
        return [
            AgentConfig(
                name=f"agent-{n}",
                address=self.agent_addresses[n - 1],
                port=self.agent_ports[n - 1],
                resources=self.resources[n - 1],
                attributes=self.attributes[n - 1],
                work_dir=str(work_dir / "agents" / str(n)),
                disks_dir=str(work_dir / "disks" / self.agent_addresses[n - 1]),
                master_dir=str(work_dir / "master"),
                master_pid=master_pid,
                die_with_master=self.parent is not None,
                master_address=f"{self.address}:{master_port}",
                times=self.agent_times,
                log_level=self.log_level,
            )
            for n in range(1, self.agents + 1)
        ]


def parse(argv: Sequence[str] | None = None) -> Options:
    """Reads the command line; what is wrong is said on stderr, and the process ends with status 2."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        return _options(given)
    except ValueError as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local-mesos",
        description="A Mesos 1.11 master and agents on this machine, with real executors under them.",
    )
    add = parser.add_argument
    add("--port", default="5050", help="the master's port; 0 picks a free one (default: %(default)s)")
    add("--address", default="127.0.0.1", help="the master's IPv4 address (default: %(default)s)")
    add("--agents", default="3", help="how many agents (default: %(default)s)")
    add(
        "--resources",
        action="append",
        help="of each agent, but for the ports, which agents with equal resources share evenly, "
        "{n} being its number; the items of dataDisks are directories that it makes; "
        f"repeated: of the 1st, 2nd … agent in turn (default: {DEFAULT_RESOURCES})",
    )
    add(
        "--attributes",
        action="append",
        help="of each agent, such as 'rack:r{n};zone:a', {n} being its number; may be repeated, too",
    )
    add("--work-dir", help="where sandboxes and state are kept (default: temporary, removed at the end)")
    add("--agent-ports", default="0", help="ports of the agents, comma-separated; 0 picks free ones")
    add(
        "--agent-address",
        help="IPv4 address and host name of each agent, {n} being its number "
        "(default: 127.0.0.{n} for a master on 127.0.0.1, so that every agent is a host of its own; "
        "else the master's)",
    )
    add(
        "--credentials",
        help="file of 'principal secret' lines, or Mesos's JSON: frameworks must authenticate",
    )
    add("--follow", help="answer as a master that does not lead: HOST:PORT leads, or 'nobody'")
    add("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    _add_times(add)
    add(
        "--die-with-parent",
        nargs="?",
        const="0",
        metavar="PID",
        help="end, with all agents and executors, when the process that started this one is gone",
    )
    add(
        "--ephemeral",
        action="store_true",
        help="with --die-with-parent: then remove the work directory, too",
    )
    add("--ready-fd", help="file descriptor that gets one line of JSON when master and agents are ready")
    return parser


def _add_times(add: Callable[..., Any]) -> None:
    master, agent = MasterTimes(), AgentTimes()
    times = {
        "--heartbeat-interval": (master.heartbeat, "between two HEARTBEAT events"),
        "--allocation-interval": (master.allocation_interval, "between two allocations, at least"),
        "--agent-timeout": (master.agent_timeout, "after which a silent agent is lost"),
        "--agent-reregister-timeout": (
            master.agent_reregister_timeout,
            "an agent has to come back after a restart of the master",
        ),
        "--executor-registration-timeout": (agent.executor_registration, "an executor has to subscribe"),
        "--executor-reregistration-timeout": (
            agent.executor_reregistration,
            "an executor has to subscribe again after a restart of its agent",
        ),
        "--executor-shutdown-grace-period": (agent.executor_shutdown_grace, "an executor has to end"),
        "--update-retry": (agent.update_retry, "before an unacknowledged update is sent again"),
        "--orphan-timeout": (agent.orphan, "an agent outlives its master"),
        "--agent-restart-delay": (1.0, "before an agent that died is started again"),
    }
    for name, (default, what) in times.items():
        add(name, default=durations.show(default), help=f"time {what} (default: %(default)s)")


def _options(given: argparse.Namespace) -> Options:
    count = _integer("--agents", given.agents, 0, _MAX_AGENTS)
    address = _address("--address", given.address)
    agent_address = given.agent_address or ("127.0.0.{n}" if address == "127.0.0.1" else address)
    addresses = tuple(_address("--agent-address", a) for a in _per_agent([agent_address], count))
    # Agents on one address cannot have disks of the same names.
    usual = DEFAULT_RESOURCES if len(set(addresses)) == count else _AMOUNTS
    bags = _share_ports(_per_agent(given.resources or [usual], count))
    _check_disks(bags, addresses)
    marks = _per_agent(given.attributes or [""], count)
    for mark in marks:
        attributes.parse(mark)
    return Options(
        address=address,
        port=_integer("--port", given.port, 0, 65535),
        agents=count,
        resources=bags,
        attributes=marks,
        agent_addresses=addresses,
        agent_ports=_ports(given.agent_ports, count),
        work_dir=Path(given.work_dir).absolute() if given.work_dir else None,
        master_times=_master_times(given),
        agent_times=_agent_times(given),
        credentials=_credentials(given.credentials) if given.credentials else None,
        follow=_follow(given.follow),
        parent=None
        if given.die_with_parent is None
        else _integer("--die-with-parent", given.die_with_parent, 0),
        ephemeral=given.ephemeral,
        ready_fd=None if given.ready_fd is None else _integer("--ready-fd", given.ready_fd, 0),
        restart_delay=_time(given, "agent_restart_delay"),
        log_level=given.log_level,
    )


def _integer(name: str, text: str, low: int, high: int = 2**31) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a whole number") from None
    if not low <= value <= high:
        raise ValueError(f"{name}: {value} is not between {low} and {high}")
    return value


def _address(name: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not an IPv4 address") from None


def _per_agent(values: Sequence[str], count: int) -> tuple[str, ...]:
    """The values in turn, with ``{n}`` filled in."""
    return tuple(values[n % len(values)].replace("{n}", str(n + 1)) for n in range(count))


def _share_ports(bags: Sequence[str]) -> tuple[str, ...]:
    """Checks each agent's resources, and gives those that name the same ports their shares of them."""
    result = []
    for n, text in enumerate(bags):
        bag = resources.parse(text)
        parts = bags.count(text)
        if parts > 1 and ("ports", "") in bag.ranges:
            text = resources.describe(resources.share_of_ports(bag, bags[:n].count(text), parts))
        result.append(text)
    return tuple(result)


def _check_disks(bags: Sequence[str], addresses: Sequence[str]) -> None:
    """No two agents may have one directory for a data disk."""
    seen: set[tuple[str, str]] = set()
    for text, address in zip(bags, addresses, strict=True):
        for disk in resources.parse(text).items(DATA_DISKS):
            if disk in (".", "..") or "/" in disk:
                raise ValueError(f"--resources: data disk {disk!r} cannot be the name of a directory")
            if (address, disk) in seen:
                raise ValueError(
                    f"--resources: two agents on {address} have a data disk {disk!r}; give each an "
                    "address of its own ({n} in --agent-address), or its disks other names (disk{n}a)"
                )
            seen.add((address, disk))


def _ports(text: str, count: int) -> tuple[int, ...]:
    ports = [_integer("--agent-ports", p.strip(), 0, 65535) for p in text.split(",")]
    if ports == [0]:
        return (0,) * count
    if len(ports) < count:
        raise ValueError(f"--agent-ports: {len(ports)} ports are not enough for {count} agents")
    return tuple(ports[:count])


def _time(given: argparse.Namespace, name: str) -> float:
    try:
        return durations.read(getattr(given, name))
    except ValueError as error:
        raise ValueError(f"--{name.replace('_', '-')}: {error}") from None


def _master_times(given: argparse.Namespace) -> MasterTimes:
    usual = MasterTimes()
    timeout = _time(given, "agent_timeout")
    heartbeat = _time(given, "heartbeat_interval")
    if timeout <= 0 or heartbeat <= 0:
        raise ValueError("--agent-timeout and --heartbeat-interval must be more than 0")
    return MasterTimes(
        heartbeat=heartbeat,
        allocation_interval=_time(given, "allocation_interval"),
        agent_ping_timeout=timeout / usual.max_agent_ping_timeouts,
        agent_reregister_timeout=_time(given, "agent_reregister_timeout"),
    )


def _agent_times(given: argparse.Namespace) -> AgentTimes:
    retry = _time(given, "update_retry")
    if retry <= 0:
        raise ValueError("--update-retry must be more than 0")
    return AgentTimes(
        executor_registration=_time(given, "executor_registration_timeout"),
        executor_reregistration=_time(given, "executor_reregistration_timeout"),
        executor_shutdown_grace=_time(given, "executor_shutdown_grace_period"),
        update_retry=retry,
        orphan=_time(given, "orphan_timeout"),
    )


def _credentials(path: str) -> dict[str, str]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--credentials: {error}") from None
    try:
        if text.lstrip().startswith("{"):
            items = json.loads(text)["credentials"]
            pairs = [(str(i["principal"]), str(i["secret"])) for i in items]
        else:
            pairs = [(a, b) for a, b in (line.split() for line in text.splitlines() if line.strip())]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"--credentials: {path} holds neither 'principal secret' lines nor credentials"
        ) from None
    if not pairs or not all(secret for _, secret in pairs):
        raise ValueError(f"--credentials: {path} holds no credential, or an empty secret")
    return dict(pairs)


def _follow(text: str | None) -> str | None:
    if text is None or text == "nobody":
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"--follow: {text!r} is neither HOST:PORT nor 'nobody'")
    _integer("--follow", port, 1, 65535)
    return text
