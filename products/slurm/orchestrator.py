"""Slurm: one key of munge for all nodes, one slurm.conf, a controller, compute daemons.

``start`` may be repeated, also with other compute nodes than before. Containers have neither systemd
nor control groups of their own: jobs are followed by their process tree.
"""

import base64
import os
import secrets

import registry
from fabric import task

CONFIG = "/etc/slurm/slurm.conf"
KEY = "/etc/munge/munge.key"

# The key is the input, in base64.
MUNGE = f"""
set -eu
install -d -o munge -g munge -m 0755 /run/munge
install -d -o munge -g munge -m 0700 /etc/munge /var/lib/munge /var/log/munge
umask 077
base64 -d >{KEY}.new
if cmp -s {KEY}.new {KEY}; then
    rm {KEY}.new
else
    chown munge:munge {KEY}.new
    chmod 0400 {KEY}.new
    mv {KEY}.new {KEY}
    pkill -x munged || true
    while pgrep -x munged >/dev/null; do sleep 0.1; done
fi
pgrep -x munged >/dev/null || runuser -u munge -- munged
munge -n | unmunge >/dev/null
"""
CONFIGURE = f"""
set -eu
install -d -o slurm -g slurm /var/spool/slurmctld /run/slurm
install -d /var/spool/slurmd /var/log/slurm /etc/slurm
cat >{CONFIG}
"""
# "$1": slurmctld or slurmd. What runs already reads its configuration anew.
RUN = """
set -eu
if pgrep -x "$1" >/dev/null; then
    pkill -HUP -x "$1"
else
    "$1" </dev/null >/var/log/slurm/console.log 2>&1 || { cat /var/log/slurm/console.log >&2; exit 1; }
fi
"""
STOP = """
for name in slurmd slurmctld munged; do pkill -x $name || true; done
for _ in $(seq 100); do pgrep -x 'slurmd|slurmctld|munged' >/dev/null || exit 0; sleep 0.1; done
exit 1
"""
# "$@": the names of the compute nodes.
WAIT = """
for _ in $(seq 300); do
    ready=$(sinfo --noheader --Node --format='%N %t' 2>/dev/null | grep -cE ' (idle|alloc|mix)$' || true)
    [ "$ready" -ge $# ] && exit 0
    sleep 0.2
done
sinfo --Node --long >&2
tail -n 20 /var/log/slurm/*.log >&2
exit 1
"""


def cluster():
    return registry.get_cluster(dn=os.environ["CLUSTERDN"])


def bash(node, script, *arguments, **more):
    """Returns what a script has put out in a node; it has to succeed."""
    words = ["bash", "-c", script, "bash", *map(str, arguments)]
    return node.run(words, timeout=120, **more).stdout


def address(node):
    return node.networks[0].address


def slurm_conf(mine, controller, compute):
    """The configuration; it has to be the same on all nodes."""
    name = "".join(c if c.isalnum() else "-" for c in mine.dnsname or "cluster").lower()[:40]
    partition = mine.service("slurmctld").get("partition", "main")
    lines = [
        f"ClusterName={name}",
        f"SlurmctldHost={controller.name}({address(controller)})",
        "AuthType=auth/munge",
        "CredType=cred/munge",
        "SlurmUser=slurm",
        "StateSaveLocation=/var/spool/slurmctld",
        "SlurmdSpoolDir=/var/spool/slurmd",
        "SlurmctldPidFile=/run/slurm/slurmctld.pid",
        "SlurmdPidFile=/run/slurm/slurmd.pid",
        "SlurmctldLogFile=/var/log/slurm/slurmctld.log",
        "SlurmdLogFile=/var/log/slurm/slurmd.log",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "MpiDefault=none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        # A container sees all processors and all memory of its agent, and may use its share.
        "SlurmdParameters=config_overrides",
        "ReturnToService=2",
        "SlurmctldTimeout=30",
        "SlurmdTimeout=30",
    ]
    for node in compute:
        cpus = max(1, int(float(node.cpu)))
        lines.append(
            f"NodeName={node.name} NodeAddr={address(node)} CPUs={cpus} "
            f"RealMemory={int(float(node.mem))} State=UNKNOWN"
        )
    names = ",".join(node.name for node in compute)
    lines.append(f"PartitionName={partition} Nodes={names} Default=YES MaxTime=INFINITE State=UP")
    return "\n".join(lines) + "\n"


def munge_key(controller):
    """The key in base64: the one that the controller has, or a new one."""
    code, known, _ = controller.run(["base64", "-w0", KEY], check=False)
    if code == 0 and known:
        return known
    return base64.b64encode(secrets.token_bytes(1024)).decode()


@task
def start(context):
    mine = cluster()
    (controller,) = mine.service("slurmctld").nodes
    compute = mine.service("slurmd").nodes
    key = munge_key(controller)
    config = slurm_conf(mine, controller, compute)
    for node in [controller, *compute]:
        bash(node, MUNGE, input=key)
        bash(node, CONFIGURE, input=config)
    bash(controller, RUN, "slurmctld")
    for node in compute:
        bash(node, RUN, "slurmd")
    bash(controller, WAIT, *(node.name for node in compute))
    for node in mine.nodes:
        node.status = "running"
    for service in mine.services:
        service.status = "running"
    print(controller.run(["sinfo", "--Node"]).stdout)


@task
def stop(context):
    mine = cluster()
    for node in mine.nodes:
        bash(node, STOP)
        node.status = "stopped"
    for service in mine.services:
        service.status = "stopped"


@task
def restart(context):
    stop(context)
    start(context)


@task
def status(context):
    (controller,) = cluster().service("slurmctld").nodes
    code, said, _ = controller.run(["sinfo", "--Node"], check=False)
    print(said if code == 0 else "stopped")
