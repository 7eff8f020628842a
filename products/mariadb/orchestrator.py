"""MariaDB: a primary, and replicas that follow it by GTID.

``root`` is let in over the socket in the node itself, nobody else is; the password of the replication
is kept in the primary only. ``start`` may be repeated: it does what is still to be done.
"""

import os
import secrets

import registry
from fabric import task

SETTINGS = "/etc/mysql/mariadb.conf.d/60-cluster.cnf"
REPLICATION = "/var/lib/mysql/.replication"

INSTALL = """
set -eu
chown mysql:mysql /var/lib/mysql
[ -d /var/lib/mysql/mysql ] || mariadb-install-db --user=mysql --datadir=/var/lib/mysql \
    --auth-root-authentication-method=socket --skip-test-db >/dev/null
"""
RUN = """
set -eu
mariadb-admin ping >/dev/null 2>&1 && exit 0
install -d -o mysql -g mysql /run/mysqld /var/log/mysql
setsid mariadbd --user=mysql </dev/null >/var/log/mysql/console.log 2>&1 &
for _ in $(seq 300); do
    mariadb-admin ping >/dev/null 2>&1 && exit 0
    kill -0 $! 2>/dev/null || break
    sleep 0.2
done
tail -n 20 /var/log/mysql/console.log >&2
exit 1
"""
FOLLOWS = r"""
for _ in $(seq 150); do
    said=$(mariadb -e 'SHOW SLAVE STATUS\G')
    case $said in *'Slave_IO_Running: Yes'*'Slave_SQL_Running: Yes'*) exit 0 ;; esac
    sleep 0.2
done
echo "$said" | grep Last_ >&2
exit 1
"""
STOP = "if mariadb-admin ping >/dev/null 2>&1; then mariadb-admin shutdown; fi"


def cluster():
    return registry.get_cluster(dn=os.environ["CLUSTERDN"])


def members(mine, name):
    return mine.service(name).nodes


def sql(node, statements):
    """Runs SQL as root; the statements are no words of a command line, that all could read."""
    node.run(["mariadb", "--batch"], input=statements)


def address(node):
    return node.networks[0].address


def settings(node, number, replica, most):
    memory = max(32, int(float(node.mem)) * 2 // 5)
    lines = [
        "[mariadbd]",
        f"server_id = {number}",
        "bind_address = 0.0.0.0",
        "datadir = /var/lib/mysql",
        "socket = /run/mysqld/mysqld.sock",
        "pid_file = /run/mysqld/mysqld.pid",
        f"innodb_buffer_pool_size = {memory}M",
        f"max_connections = {most}",
        "log_bin = binlog",
        "gtid_strict_mode = ON",
        "skip_name_resolve = ON",
    ]
    if replica:
        lines += ["read_only = ON", f"report_host = {node.name}"]
    return "\n".join([*lines, "[client]", "socket = /run/mysqld/mysqld.sock", ""])


def bring_up(node, number, replica, most):
    node.put(SETTINGS, settings(node, number, replica, most))
    node.run(INSTALL)
    node.run(RUN, timeout=120)
    node.status = "running"
    print(f"{node.name}: MariaDB runs at {address(node)}:3306")


def replication_password(primary):
    """The password; made the first time. It never leaves the nodes and this script."""
    code, known, _ = primary.run(["cat", REPLICATION], check=False)
    if code == 0:
        return known.strip()
    password = secrets.token_hex(24)
    sql(
        primary,
        f"CREATE OR REPLACE USER replication@'%' IDENTIFIED BY '{password}';\n"
        "GRANT REPLICATION SLAVE ON *.* TO replication@'%';\n",
    )
    primary.put(REPLICATION, password, 0o600)
    return password


def follow(replica, primary, password):
    if "Slave_SQL_Running: Yes" not in slave_status(replica):
        sql(
            replica,
            "STOP SLAVE;\n"
            f"CHANGE MASTER TO MASTER_HOST='{address(primary)}', MASTER_PORT=3306, "
            f"MASTER_USER='replication', MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, "
            "MASTER_CONNECT_RETRY=2;\n"
            "START SLAVE;\n",
        )
    replica.run(FOLLOWS)
    print(f"{replica.name}: follows {primary.name}")


def slave_status(replica):
    return replica.run(["mariadb", "-e", "SHOW SLAVE STATUS\\G"]).stdout


def number_of(node):
    """A number that no other node of the cluster has: the primary's is 1."""
    digits = "".join(c for c in node.name if c.isdigit())
    return 1 if node.name == "primary" else 10 + int(digits or 0)


@task
def start(context):
    mine = cluster()
    (primary,) = members(mine, "primary")
    replicas = members(mine, "replica")
    most = mine.service("primary").get("max_connections", "151")
    bring_up(primary, number_of(primary), False, most)
    password = replication_password(primary)
    for replica in replicas:
        bring_up(replica, number_of(replica), True, most)
        follow(replica, primary, password)
    for service in mine.services:
        service.status = "running"


@task
def stop(context):
    mine = cluster()
    for node in [*members(mine, "replica"), *members(mine, "primary")]:
        node.run(STOP)
        node.status = "stopped"
    for service in mine.services:
        service.status = "stopped"


@task
def restart(context):
    stop(context)
    start(context)


@task
def status(context):
    mine = cluster()
    for node in mine.nodes:
        up = node.run("mariadb-admin ping", check=False).ok
        print(f"{node.name}: {'running' if up else 'stopped'}")
        if up and node in members(mine, "replica"):
            behind = [line for line in slave_status(node).splitlines() if "Seconds_Behind" in line]
            print(f"{node.name}: {behind[0].strip() if behind else 'follows nobody'}")
