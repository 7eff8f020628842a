"""What master and agents say of themselves: the version of the API they speak, and of this program."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from framework.local.settings import VERSION

Json = dict[str, Any]

# What a Mesos 1.11 agent announces (operator/master.slaves.json).
CAPABILITIES = (
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "RESOURCE_PROVIDER",
    "RESIZE_VOLUME",
    "AGENT_OPERATION_FEEDBACK",
    "AGENT_DRAINING",
    "TASK_RESOURCE_LIMITS",
)


def build_info() -> Json:
    """Returns the fields of /version; the build is that of this module's file."""
    built = Path(__file__).stat().st_mtime
    return {
        "version": VERSION,
        "git_sha": "mesos-gateway-local",
        "git_tag": VERSION,
        "build_date": datetime.fromtimestamp(built, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "build_time": float(int(built)),
        "build_user": "mesos-gateway",
    }


def system_metrics() -> dict[str, float]:
    """Returns the ``system/…`` metrics of /metrics/snapshot."""
    one, five, fifteen = (float(v) for v in Path("/proc/loadavg").read_text().split()[:3])
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (float(memory[k].split()[0]) * 1024 for k in ("MemTotal", "MemFree"))
    cpus = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text().splitlines())
    return {
        "system/cpus_total": float(cpus),
        "system/load_1min": one,
        "system/load_5min": five,
        "system/load_15min": fifteen,
        "system/mem_total_bytes": total,
        "system/mem_free_bytes": free,
    }
