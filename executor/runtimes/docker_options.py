"""From a task to the options of its container, without Docker: values in, values out.

The names of parameters are those of ``docker run``, without the dashes. What a user may set is decided
before a task gets here; here a parameter is either understood or refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from executor import networks, node
from executor.environment import ExecutorEnvironment
from executor.identity import state_of
from executor.runtimes.base import CannotRun, TaskContext, task_environment
from executor.task import Node, Parameter

SANDBOX = "/mnt/mesos/sandbox"
LABEL = "mesos-gateway."
OWNER = LABEL + "owner"
# The name of the node that a container is: by it people find the container among others.
NODE = LABEL + "node"
_CPU_PERIOD = 100_000
_SHARES_PER_CPU = 1024
_TRUE = frozenset({"", "true", "1", "yes", "on"})

# bash where the image has it, as on the agent; "$0" is the command line.
CHOOSE_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -c "$0"; fi; exec /bin/sh -c "$0"'
# Keeps a container of several processes alive; docker-init ends it at once on SIGTERM.
HOLD = ["/bin/sh", "-c", "while :; do sleep 3600; done"]


class ContainerOptions(msgspec.Struct):
    """``create`` and ``host`` are the arguments of the SDK's create_container, create_host_config."""

    image: str
    create: dict[str, Any]
    host: dict[str, Any]


def command_of(cmdline: str) -> list[str]:
    """Returns the argv that runs a command line inside a container."""
    return ["/bin/sh", "-c", CHOOSE_SHELL, cmdline]


def container_name(task_id: str) -> str:
    """Returns the name of a task's container."""
    return f"mesos-gateway-{task_id}"


def labels_of(context: TaskContext) -> dict[str, str]:
    """Returns the labels by which a container tells whose it is (see :mod:`executor.identity`)."""
    environment = context.environment
    return {
        LABEL + "task-id": context.payload.task_id,
        LABEL + "framework-id": environment.framework_id,
        LABEL + "agent-id": environment.agent_id,
        LABEL + "executor-id": environment.executor_id,
        LABEL + "executor-run": environment.run_id,
        OWNER: context.owner,
    }


def is_orphan(labels: Mapping[str, str], environment: ExecutorEnvironment) -> bool:
    """Returns whether the executor that made a container with these labels is dead."""
    state = state_of(labels.get(OWNER, ""))
    if state != "unknown":
        return state == "dead"
    same_agent = labels.get(LABEL + "agent-id") == environment.agent_id
    same_framework = labels.get(LABEL + "framework-id") == environment.framework_id
    return same_agent and same_framework and labels.get(LABEL + "executor-run") != environment.run_id


def container_options(context: TaskContext, argv: list[str] | None) -> ContainerOptions:
    """Returns the options of the task's container; ``argv`` None runs the image's entry point.

    Raises :class:`CannotRun` for a parameter that is not understood.
    """
    container = context.payload.container
    if container is None:
        raise ValueError("a task without a container has no container options")
    options = ContainerOptions(
        image=container.image,
        create={
            "labels": labels_of(context),
            "environment": [f"{k}={v}" for k, v in task_environment(context, SANDBOX).items()],
        },
        host=_host_options(context),
    )
    if argv is not None:
        options.create |= {"entrypoint": argv[:1], "command": argv[1:], "working_dir": SANDBOX}
    if context.payload.node is not None:
        _make_node(options, context.payload.node, context.payload.disk_paths)
    for volume in container.volumes:
        mode = volume.mode.lower()
        options.host["binds"].append(f"{volume.host_path}:{volume.container_path}:{mode}")
    for parameter in container.parameters:
        _apply(options, parameter, has_argv=argv is not None)
    if context.payload.node is not None:
        _attach_first(options, context.payload.node)
    attached = context.payload.node.networks if context.payload.node is not None else ()
    _publish_ports(options, context.payload.ports, not attached or attached[0].driver == "bridge")
    return options


def _make_node(options: ContainerOptions, machine: Node, disk_paths: tuple[str, ...]) -> None:
    """Adds what makes the container a machine; the node has been checked (:func:`node.check`)."""
    variables = node.environment_of(machine)
    options.create["environment"] += [f"{name}={value}" for name, value in variables.items()]
    options.create["hostname"] = machine.hostname
    options.create["labels"][NODE] = machine.hostname
    hosts = [f"{name}:{address}" for name, address in node.hosts_of(machine)]
    options.host.setdefault("extra_hosts", []).extend(hosts)
    for path, disk in zip(disk_paths, machine.disks, strict=False):
        options.host["binds"].append(f"{path}:{disk.destination}:{disk.mode.lower()}")


def _attach_first(options: ContainerOptions, machine: Node) -> None:
    """Attaches the container to the first of its networks; Docker has no order for more of them."""
    if not machine.networks:
        return
    if "network_mode" in options.host:
        raise CannotRun(
            "the Docker parameter 'network' contradicts the networks of the node: leave one of them out",
            "REASON_TASK_INVALID",
        )
    first, names = machine.networks[0], list(map(networks.network_name, machine.networks))
    options.host["network_mode"] = names[0]
    options.create["networking_config"] = {
        "EndpointsConfig": {names[0]: {"IPAMConfig": {"IPv4Address": first.address}}}
    }
    options.create["labels"][networks.USES_LABEL] = ",".join(names)


def wait_for_networks(options: ContainerOptions, image: Mapping[str, Any], count: int) -> None:
    """Lets the container's command wait for all of its ``count`` interfaces.

    ``image`` is the image's configuration, for a container that runs the image's own entry point.
    """
    argv = options.create.get("entrypoint")
    if argv is None:
        argv = [*(image.get("Entrypoint") or ()), *(image.get("Cmd") or ())]
    else:
        argv = [*argv, *options.create.get("command", ())]
    if not argv:
        raise CannotRun(
            f"image {options.image} has neither an entry point nor a command: there is nothing to run",
            "REASON_TASK_INVALID",
        )
    waiting = node.waiting(count, argv)
    options.create |= {"entrypoint": waiting[:1], "command": waiting[1:]}


def _host_options(context: TaskContext) -> dict[str, Any]:
    payload, operator = context.payload, context.options
    memory = payload.mem_mb * 1024 * 1024
    host: dict[str, Any] = {
        "binds": [f"{context.sandbox}:{SANDBOX}:rw"],
        "cpu_shares": max(2, int(payload.cpus * _SHARES_PER_CPU)),
        "mem_limit": memory,
        # The same as the memory: no swap on top of it.
        "memswap_limit": memory,
        "init": True,
        "pids_limit": operator.pids_limit,
        "security_opt": ["no-new-privileges"],
        # Output is taken from the attached streams; the daemon's own copy only bridges its restarts.
        "log_config": {"type": "json-file", "config": {"max-size": "16m", "max-file": "2"}},
    }
    if operator.hard_cpu_limit:
        host |= {"cpu_period": _CPU_PERIOD, "cpu_quota": max(1000, int(payload.cpus * _CPU_PERIOD))}
    if payload.gpus:
        host["device_requests"] = [{"count": payload.gpus, "capabilities": [["gpu"]]}]
    return host


def _publish_ports(options: ContainerOptions, ports: Mapping[str, int], publishes: bool) -> None:
    """Publishes each port under its own number, except where the network has nothing to publish."""
    network = str(options.host.get("network_mode", "bridge"))
    if network in ("host", "none") or network.startswith("container:") or not publishes:
        return
    bindings = options.host.setdefault("port_bindings", {})
    for number in ports.values():
        bindings.setdefault(f"{number}/tcp", number)
    if bindings:
        options.create["ports"] = [tuple(port.split("/")) for port in bindings]


# -- parameters --


def _apply(options: ContainerOptions, parameter: Parameter, has_argv: bool) -> None:
    name, value = parameter.name.lstrip("-"), parameter.value
    name = _ALIASES.get(name, name)
    if name == "entrypoint" and has_argv:
        raise CannotRun(
            "the Docker parameter 'entrypoint' contradicts the task's processes: leave one of them out",
            "REASON_TASK_INVALID",
        )
    setter = _SETTERS.get(name)
    if setter is None:
        known = ", ".join(sorted(_SETTERS))
        raise CannotRun(
            f"the Docker parameter {parameter.name!r} is not supported; known are: {known}",
            "REASON_TASK_INVALID",
        )
    try:
        setter(options, value)
    except (ValueError, IndexError) as error:
        raise CannotRun(
            f"the Docker parameter {parameter.name}={value!r} cannot be read: {error}",
            "REASON_TASK_INVALID",
        ) from None


_Setter = Callable[[ContainerOptions, str], None]


def _host(key: str, convert: Callable[[str], Any] = str) -> _Setter:
    def setter(options: ContainerOptions, value: str) -> None:
        options.host[key] = convert(value)

    return setter


def _host_list(key: str, convert: Callable[[str], Any] = str) -> _Setter:
    def setter(options: ContainerOptions, value: str) -> None:
        options.host.setdefault(key, []).append(convert(value))

    return setter


def _create(key: str, convert: Callable[[str], Any] = str) -> _Setter:
    def setter(options: ContainerOptions, value: str) -> None:
        options.create[key] = convert(value)

    return setter


def _host_pair(key: str, separator: str) -> _Setter:
    def setter(options: ContainerOptions, value: str) -> None:
        left, found, right = value.partition(separator)
        if not found and separator == "=":
            raise ValueError("it should be NAME=VALUE")
        options.host.setdefault(key, {})[left] = right

    return setter


def _env(options: ContainerOptions, value: str) -> None:
    if "=" not in value:
        raise ValueError("it should be NAME=VALUE")
    options.create["environment"].append(value)


def _label(options: ContainerOptions, value: str) -> None:
    name, _, text = value.partition("=")
    if name.startswith(LABEL):
        raise ValueError(f"labels that begin with {LABEL!r} are the executor's own")
    options.create["labels"][name] = text


def _volume(options: ContainerOptions, value: str) -> None:
    if ":" not in value:
        raise ValueError("it should be HOST_PATH:CONTAINER_PATH[:MODE]")
    options.host["binds"].append(value)


def _publish(options: ContainerOptions, value: str) -> None:
    match = re.fullmatch(r"(?:([0-9.]+):)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp))?", value)
    if match is None:
        raise ValueError("it should be [ADDRESS:]HOST_PORT:CONTAINER_PORT[/tcp|/udp]")
    address, host, inside, protocol = match.groups()
    binding: Any = (address, int(host)) if address else int(host)
    options.host.setdefault("port_bindings", {})[f"{inside}/{protocol or 'tcp'}"] = binding


def _ulimit(value: str) -> dict[str, Any]:
    name, _, numbers = value.partition("=")
    soft, _, hard = numbers.partition(":")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def _log_option(options: ContainerOptions, value: str) -> None:
    name, _, text = value.partition("=")
    options.host["log_config"]["config"][name] = text


def _log_driver(options: ContainerOptions, value: str) -> None:
    options.host["log_config"] = {"type": value, "config": {}}


def _flag(value: str) -> bool:
    return value.strip().lower() in _TRUE


_ALIASES = {"e": "env", "l": "label", "net": "network", "h": "hostname", "w": "workdir", "u": "user"} | {
    "v": "volume",
    "p": "publish",
}
_SETTERS: Mapping[str, _Setter] = {
    "add-host": _host_list("extra_hosts"),
    "cap-add": _host_list("cap_add"),
    "cap-drop": _host_list("cap_drop"),
    "device": _host_list("devices"),
    "dns": _host_list("dns"),
    "dns-search": _host_list("dns_search"),
    "domainname": _create("domainname"),
    "entrypoint": _create("entrypoint", lambda v: [v]),
    "env": _env,
    "group-add": _host_list("group_add"),
    "hostname": _create("hostname"),
    "init": _host("init", _flag),
    "ipc": _host("ipc_mode"),
    "label": _label,
    "log-driver": _log_driver,
    "log-opt": _log_option,
    "memory-swappiness": _host("mem_swappiness", int),
    "network": _host("network_mode"),
    "oom-score-adj": _host("oom_score_adj", int),
    "pid": _host("pid_mode"),
    "pids-limit": _host("pids_limit", int),
    "privileged": _host("privileged", _flag),
    "publish": _publish,
    "read-only": _host("read_only", _flag),
    "security-opt": _host_list("security_opt"),
    "shm-size": _host("shm_size"),
    "stop-signal": _create("stop_signal"),
    "sysctl": _host_pair("sysctls", "="),
    "tmpfs": _host_pair("tmpfs", ":"),
    "ulimit": _host_list("ulimits", _ulimit),
    "user": _create("user"),
    "userns": _host("userns_mode"),
    "uts": _host("uts_mode"),
    "volume": _volume,
    "workdir": _create("working_dir"),
}


# -- what Docker says --


def explain_start(text: str, image: str, ports: Mapping[str, int]) -> str:
    """Returns a sentence for the daemon's text about a container that it cannot create or start.

    Docker 20.10 answers 400 for a missing executable, 404 for a missing network, 409 for a name that
    is taken, 500 for a port in use.
    """
    executable = re.search(r'exec: "([^"]+)": (.*?)(?:: unknown)?$', text.strip(), re.DOTALL)
    if executable:
        command, trouble = executable.groups()
        if "not found" in trouble or "no such file" in trouble:
            return f"the command {command} does not exist in image {image}"
        return f"the command {command} of image {image} cannot be run: {trouble.split(': ')[-1]}"
    if "already allocated" in text or "address already in use" in text:
        numbers = ", ".join(str(p) for p in ports.values() if f":{p}" in text) or "it needs"
        return f"the port {numbers} is already in use on this agent"
    if "no command specified" in text.lower():
        return f"image {image} has neither an entry point nor a command: there is nothing to run"
    network = re.search(r"network (\S+) not found", text)
    if network:
        return f"the Docker network {network.group(1)} does not exist on this agent"
    return f"Docker cannot start the container: {text.strip()}"
