"""From options to the parts of a gateway: what is started, in which order, and how it is ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from framework.clock import Clock
from framework.core.messages import Snapshot
from framework.core.scheduler import Scheduler
from framework.core.settings import Settings
from framework.lease import Always, Permit
from framework.local.launcher import LocalMesos
from framework.local.options import DISK_PATH
from framework.mesos.driver import FrameworkSettings, MesosDriver
from framework.mesos.executors import ExecutorSettings
from framework.mesos.masters import ZooKeeperUrl
from framework.model.errors import GatewayError, Invalid
from framework.model.warming import warm_up
from framework.replica import Replica
from framework.service import SchedulerService, make_scheduler
from framework.storage import Storage
from gateway import standby
from gateway.audit import Lines, Nowhere, Sink
from gateway.auth.access import Access
from gateway.auth.authenticators import make_authenticators
from gateway.cluster_parts import Term, build_clusters
from gateway.clusters.disks import withheld
from gateway.context import Gateway
from gateway.events import EventHub
from gateway.forward import Forwarder
from gateway.jobs.limits import Limits
from gateway.jobs.sandbox import JobReader, evaluation_workers
from gateway.logs import AgentFiles
from gateway.metrics import Metrics
from gateway.operations import Operations
from gateway.options import Options
from gateway.policy import Policy, read_policy
from gateway.pool import Mode, Pool
from gateway.requests import Requests
from gateway.schedulers import registry
from gateway.schedulers.command import CommandBackend
from gateway.schedulers.framework import FrameworkBackend
from gateway.schedulers.registry import Registry
from gateway.store import Store
from gateway.tls import Certificate
from gateway.workers import WorkerProcesses

_ROOT = Path(__file__).resolve().parent.parent
# Where a Docker daemon is may stand in the environment; the embedded agents' executors need it, too.
_DOCKER = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


def build(options: Options, stack: contextlib.ExitStack) -> Gateway:
    """Starts what ``options`` ask for and returns it; ``stack`` ends it, last things first.

    Raises :class:`Invalid` for options that do not go together, other GatewayErrors for what did
    not start.
    """
    warm_up()
    mode = _mode(options.application)
    zookeeper = standby.zookeeper(options)
    rules = read_policy(options.policy) if options.policy else Policy()
    limits = Limits(source_bytes=min(Limits().source_bytes, options.max_body))
    workers = _workers(options, mode, limits, stack)
    commands = stack.enter_context(
        WorkerProcesses(options.parallel, preload=[CommandBackend.__module__])
    )
    pool = Pool(mode, options.parallel, commands)
    metrics = Metrics()
    certificate = _certificate(options)
    service, parts, data, term = None, None, None, None
    if options.executor == "internal":
        store = Store(options.state)
        stack.callback(store.close)
        service = _service(options, zookeeper, store, stack)
        parts, data, term = build_clusters(options, service, store, workers, rules, metrics, stack)
    replica = service if isinstance(service, Replica) else None
    forwarder = None if replica is None else Forwarder(replica, certificate)
    # After the service, so that nothing waits for it when the pool's threads are joined.
    stack.callback(pool.close)
    clusters = _registry(options, service, pool)
    hub = EventHub(service)
    stack.callback(hub.stop)
    requests = Requests()
    if service is not None:
        metrics.scheduler(service.status)
    metrics.gauges(partial(_request_gauges, pool, requests))
    if replica is not None and forwarder is not None:
        metrics.gauges(standby.gauges(replica, forwarder))
    return Gateway(
        pool=pool,
        operations=Operations(clusters, JobReader(workers, limits), rules),
        events=hub,
        files=AgentFiles(),
        metrics=metrics,
        requests=requests,
        access=_access(options, term, stack),
        audit=_audit(options, stack),
        certificate=certificate,
        forwarder=forwarder,
        replica=replica,
        clusters=parts,
        dataprocessing=data,
        max_body=options.max_body,
        legacy_status=options.legacy_status,
    )


def _workers(
    options: Options, mode: Mode, limits: Limits, stack: contextlib.ExitStack
) -> WorkerProcesses:
    """Starts the processes in which configurations and templates are evaluated."""
    processes = options.parallel if mode == "process" else min(options.parallel, os.cpu_count() or 1)
    workers = stack.enter_context(evaluation_workers(processes, limits))
    # Meanwhile the rest starts: the first configuration or template need not wait for the imports.
    threading.Thread(target=_warm, args=(workers,), name="warming", daemon=True).start()
    return workers


def _warm(workers: WorkerProcesses) -> None:
    # Whoever needs a worker is told what is wrong; here it may also be that the gateway stops.
    with contextlib.suppress(GatewayError):
        workers.warm()


def _request_gauges(pool: Pool, requests: Requests) -> dict[str, tuple[str, float]]:
    return {
        "requests_running": ("Requests being executed", pool.running),
        "requests_waiting": ("Requests that stand in line", pool.waiting),
        "streams": ("Open event streams and logs", requests.streams),
    }


def _access(options: Options, term: Term | None, stack: contextlib.ExitStack) -> Access:
    reading: Any = options.read_access
    access = Access(
        make_authenticators(options),
        reading,
        options.rate_limit,
        open_metrics=options.open_metrics,
        proxies=options.trusted_proxies,
        script_key=lambda: term.script_key if term is not None else None,
        revoked=term.revoked if term is not None else None,
    )
    stack.callback(access.close)
    return access


def _audit(options: Options, stack: contextlib.ExitStack) -> Sink:
    if options.audit_log is None:
        return Nowhere()
    lines = Lines(options.audit_log)
    stack.callback(lines.close)
    return lines


def _certificate(options: Options) -> Certificate | None:
    if options.tls_cert is None or options.tls_key is None:
        return None
    return Certificate(options.tls_cert, options.tls_key, options.tls_client_ca)


def _mode(name: str) -> Mode:
    mode: Mode = name  # type: ignore[assignment]  # the option's choices are the modes
    return mode


# -- what stands behind the clusters ---------------------------------------------------------------


def _registry(options: Options, service: SchedulerService | Replica | None, pool: Pool) -> Registry:
    clusters = registry.read_clusters(options.clusters) if options.clusters else ()
    if service is not None:
        own = service
        return registry.internal(
            clusters, options.cluster_name, lambda name: FrameworkBackend(own, name)
        )
    command = shutil.which(options.aurora_command)
    if command is None:
        raise Invalid(
            f"--executor external needs an aurora client: {options.aurora_command!r} is not an "
            "executable file, nor on the PATH; name one with --aurora-command"
        )
    dialect: Any = options.aurora_client
    return registry.external(
        clusters,
        lambda name: CommandBackend(command, dialect, name, pool.isolated, options.aurora_timeout),
    )


def _service(
    options: Options, zookeeper: ZooKeeperUrl | None, store: Store, stack: contextlib.ExitStack
) -> SchedulerService | Replica:
    """Starts the scheduler, and the embedded Mesos before it; ends both without a TEARDOWN."""
    framework = framework_settings(options)
    framework.check()
    executor = executor_settings(options)
    executor.check()
    storage = Storage(options.state)
    stack.callback(storage.close)
    master = options.master
    if master == "local":
        local = _local_mesos(options, stack)
        master = local.start()
        if options.disk_path is None:
            executor = msgspec.structs.replace(
                executor, disk_path=str(local.work_dir.absolute() / DISK_PATH)
            )
    clock = Clock()

    def make_driver(sink: Any, framework_id: str | None) -> MesosDriver:
        return MesosDriver(master, framework, executor, sink, framework_id=framework_id, clock=clock.now)

    settings = Settings(executor_cpus=executor.cpus, executor_mem_mb=executor.mem_mb)

    def make_core(settings: Settings, snapshot: Snapshot) -> Scheduler:
        return make_scheduler(settings, snapshot, withheld(store))

    def make_service(permit: Permit) -> SchedulerService:
        return SchedulerService(
            storage, make_driver, settings, clock, permit=permit, make_core=make_core
        )

    service: SchedulerService | Replica
    if zookeeper is None:
        service = make_service(Always())
    else:
        service = standby.make_replica(options, zookeeper, make_service, storage)
    service.start()
    stack.callback(service.stop)
    return service


def _local_mesos(options: Options, stack: contextlib.ExitStack) -> LocalMesos:
    local = LocalMesos(
        options.local_agents,
        options.local_resources,
        options.local_attributes,
        options.local_work_dir,
    )
    stack.callback(local.stop)
    return local


def framework_settings(options: Options) -> FrameworkSettings:
    """Returns what Mesos is told of the framework."""
    secret = None
    if options.secret_file is not None:
        try:
            secret = options.secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"the secret cannot be read from {options.secret_file}: {error}") from None
        if not secret:
            raise Invalid(f"the secret file {options.secret_file} is empty")
    return FrameworkSettings(
        name=options.framework_name,
        user=options.framework_user,
        role=options.framework_role,
        principal=options.principal,
        secret=secret,
        failover_timeout=options.failover_timeout,
    )


def _module_paths() -> list[str]:
    """Returns where this process finds its modules: a single-file gateway has each library apart."""
    return list(dict.fromkeys([str(_ROOT), *(p for p in sys.path if os.path.isabs(p))]))


def executor_settings(options: Options) -> ExecutorSettings:
    """Returns how agents start the executor: by default as this installation has it."""
    command, environment = options.executor_command, list[tuple[str, str]]()
    if not command and not options.executor_uri:
        # -P: the working directory is a sandbox, and nothing is imported from there.
        command = f"exec {shlex.quote(sys.executable)} -P -m executor"
        environment.append(("PYTHONPATH", os.pathsep.join(_module_paths())))
    if options.master == "local":
        environment += [(name, os.environ[name]) for name in _DOCKER if name in os.environ]
    pull_policy: Any = options.pull_policy
    return ExecutorSettings(
        command=command,
        uri=options.executor_uri,
        environment=tuple(environment),
        task_user=options.task_user,
        default_image=options.default_image,
        pull_policy=pull_policy,
        disk_path=options.disk_path or ExecutorSettings().disk_path,
    )
