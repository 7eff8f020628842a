"""What a cluster is made of, and its times: the options of ``python -m framework.local`` as values.

Defaults are those of Mesos 1.11 unless a comment says otherwise. Times in seconds.
"""

from __future__ import annotations

import msgspec

VERSION = "1.11.0"
# The set of an agent's resources whose items are directories that the agent makes.
DATA_DISKS = "dataDisks"


class MasterTimes(msgspec.Struct, frozen=True):
    """The master's times, in seconds; Mesos's own defaults unless it is said otherwise."""

    heartbeat: float = 15.0
    # Mesos allocates every second; here as soon as something changed, at most once per interval.
    allocation_interval: float = 0.05
    agent_ping_timeout: float = 15.0
    max_agent_ping_timeouts: int = 5
    # An agent known from before a restart of the master has this long to come back.
    agent_reregister_timeout: float = 600.0

    @property
    def agent_timeout(self) -> float:
        """How long an agent may be silent before it counts as lost."""
        return self.agent_ping_timeout * self.max_agent_ping_timeouts


class AgentTimes(msgspec.Struct, frozen=True):
    """The agent's times, in seconds; Mesos's own defaults unless it is said otherwise."""

    executor_registration: float = 60.0
    # Mesos: 2. More, because clients such as pymesos ignore MESOS_SUBSCRIPTION_BACKOFF_MAX and
    # pause up to 15 s between two attempts (recordings 11 and 39).
    executor_reregistration: float = 15.0
    executor_shutdown_grace: float = 5.0
    update_retry: float = 10.0
    executor_heartbeat: float = 1800.0
    recovery: float = 900.0
    # An agent whose master is gone for this long ends itself (Mesos: never).
    orphan: float = 600.0


class AgentConfig(msgspec.Struct, frozen=True):
    """Everything an agent process needs to know; kept as JSON in its directory."""

    name: str
    address: str
    port: int
    resources: str
    attributes: str
    work_dir: str
    # where the directories of its data disks are made
    disks_dir: str
    master_dir: str
    master_pid: int
    die_with_master: bool
    master_address: str
    times: AgentTimes = AgentTimes()
    log_level: str = "INFO"


class MasterConfig(msgspec.Struct, frozen=True):
    """Everything the master needs to know."""

    address: str
    port: int
    work_dir: str
    times: MasterTimes = MasterTimes()
    # principal -> secret; None: frameworks need no authentication
    credentials: dict[str, str] | None = None
    # another master's host:port: answer 307 to it; "nobody": answer 503, no leader
    follow: str | None = None
