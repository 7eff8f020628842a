"""The reference product: leaves a greeting in each node, and tells how they are."""

import os

import registry
from fabric import task

SAY = 'printf "%s\\n" "$1" >greeting && cat greeting'


def cluster():
    return registry.get_cluster(dn=os.environ["CLUSTERDN"])


@task
def start(context):
    mine = cluster()
    for service in mine.services:
        for node in service.nodes:
            words = ["sh", "-c", SAY, "sh", f"{service.get('greeting')}, {node.name}"]
            _, said, _ = node.run(words)
            print(f"{node.name}: {said.strip()}")
            node.status = "running"
        service.status = "running"


@task
def stop(context):
    mine = cluster()
    for node in mine.nodes:
        node.run("rm -f greeting")
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
        code, said, _ = node.run("cat greeting", check=False)
        print(f"{node.name}: {said.strip() if code == 0 else 'stopped'}")
