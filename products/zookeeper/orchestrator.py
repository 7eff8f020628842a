"""ZooKeeper: writes the same ensemble into each node, starts it, waits until a leader is elected.

``start`` may be repeated; nodes whose configuration has changed, because the ensemble has, are started
anew, one after the other.
"""

import os

import registry
from fabric import task

DATA = "/var/lib/zookeeper"
CONFIG = "/etc/zookeeper/conf/zoo.cfg"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"

# "$1" is the number of the node, the configuration is the input. Says whether it was another one.
WRITE = f"""
set -eu
install -d -o zookeeper -g zookeeper {DATA} /var/log/zookeeper
echo "$1" >{DATA}/myid
cat >{CONFIG}.new
if cmp -s {CONFIG}.new {CONFIG}; then rm {CONFIG}.new; else mv {CONFIG}.new {CONFIG}; echo changed; fi
"""
STOP = """
pids=$(pidof java) || exit 0
kill $pids
for _ in $(seq 100); do pidof java >/dev/null || exit 0; sleep 0.1; done
kill -9 $pids
"""
# "$1" is the most memory, in MB.
RUN = f"""
set -eu
pidof java >/dev/null && exit 0
setsid runuser -u zookeeper -- java -Xmx"$1"m -XX:TieredStopAtLevel=1 \
    -Dzookeeper.admin.enableServer=false \
    -cp /etc/zookeeper/conf:/usr/share/java/zookeeper.jar {MAIN} {CONFIG} \
    </dev/null >/var/log/zookeeper/console.log 2>&1 &
"""
MODE = """
exec 3<>/dev/tcp/127.0.0.1/2181 && printf srvr >&3 && sed -n 's/^Mode: //p' <&3
"""
WAIT = f"""
for _ in $(seq 300); do
    mode=$( ({MODE}) 2>/dev/null ) && [ -n "$mode" ] && echo "$mode" && exit 0
    sleep 0.2
done
tail -n 20 /var/log/zookeeper/console.log >&2
exit 1
"""


def cluster():
    return registry.get_cluster(dn=os.environ["CLUSTERDN"])


def number_of(node):
    return int("".join(c for c in node.name if c.isdigit()))


def ensemble(service, nodes):
    lines = [
        f"tickTime={service.get('tick', 2000)}",
        "initLimit=20",
        "syncLimit=5",
        f"dataDir={DATA}",
        "clientPort=2181",
        "4lw.commands.whitelist=srvr,ruok,mntr",
    ]
    # Alone it is no ensemble: ZooKeeper wants at least two for that.
    if len(nodes) > 1:
        lines += [f"server.{number_of(n)}={n.networks[0].address}:2888:3888" for n in nodes]
    return "\n".join(lines) + "\n"


def bash(node, script, *arguments, **more):
    """Returns what a script has put out in a node; it has to succeed."""
    words = ["bash", "-c", script, "bash", *map(str, arguments)]
    return node.run(words, timeout=120, **more).stdout


@task
def start(context):
    mine = cluster()
    (service,) = mine.services
    nodes = sorted(service.nodes, key=number_of)
    config = ensemble(service, nodes)
    for node in nodes:
        if "changed" in bash(node, WRITE, number_of(node), input=config):
            bash(node, STOP)
        bash(node, RUN, max(64, int(float(node.mem)) // 2))
    for node in nodes:
        print(f"{node.name}: {bash(node, WAIT).strip()}")
        node.status = "running"
    service.status = "running"


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
    for node in cluster().nodes:
        _, mode, _ = node.run(["bash", "-c", MODE], check=False)
        print(f"{node.name}: {mode.strip() or 'stopped'}")
