"""What Mesos refuses: calls, framework infos, roles and tasks, with the texts that 1.11 answers.

Pure functions. Each returns the sentence that says what is wrong, or None. Recordings 13, 17, 18 and
27 show most of the texts; the others are those of Mesos's own validation sources.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Any

from framework.local import resources as res

Json = dict[str, Any]

# Calls whose own field carries their arguments.
_SCHEDULER_FIELDS = {
    "ACCEPT": "accept",
    "DECLINE": "decline",
    "ACCEPT_INVERSE_OFFERS": "accept_inverse_offers",
    "DECLINE_INVERSE_OFFERS": "decline_inverse_offers",
    "KILL": "kill",
    "SHUTDOWN": "shutdown",
    "ACKNOWLEDGE": "acknowledge",
    "ACKNOWLEDGE_OPERATION_STATUS": "acknowledge_operation_status",
    "RECONCILE": "reconcile",
    "RECONCILE_OPERATIONS": "reconcile_operations",
    "MESSAGE": "message",
    "REQUEST": "request",
    "UPDATE_FRAMEWORK": "update_framework",
}
_EXECUTOR_FIELDS = {"SUBSCRIBE": "subscribe", "UPDATE": "update", "MESSAGE": "message"}


def _expecting(field: str) -> str:
    return f"Expecting '{field}' to be present"


def is_uuid(text: str) -> bool:
    """Whether base64 ``text`` is a UUID: 16 bytes whose variant and version bits say so (15, 17)."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return len(raw) == 16 and raw[8] >> 6 == 0b10 and 1 <= raw[6] >> 4 <= 5


def scheduler_call(call: Json, principal: str | None = None) -> str | None:
    """Checks a scheduler call by itself; ``principal`` is the authenticated one."""
    kind = call.get("type")
    if kind is None:
        return _expecting("type")
    if kind == "SUBSCRIBE":
        return _subscribe_call(call, principal)
    if "framework_id" not in call:
        return _expecting("framework_id")
    field = _SCHEDULER_FIELDS.get(kind)
    if field is not None and field not in call:
        return _expecting(field)
    if kind.startswith("ACKNOWLEDGE") and not is_uuid(call[kind.lower()]["uuid"]):
        return "Not a valid UUID"
    if kind == "UPDATE_FRAMEWORK":
        inner = call["update_framework"]["framework_info"]
        if inner.get("id") != call["framework_id"]:
            return "'framework_id' differs from 'update_framework.framework_info.id'"
        return _principal(inner, principal)
    return None


def _subscribe_call(call: Json, principal: str | None) -> str | None:
    if "subscribe" not in call:
        return _expecting("subscribe")
    info = call["subscribe"]["framework_info"]
    if call.get("framework_id") != info.get("id"):
        return "'framework_id' differs from 'subscribe.framework_info.id'"
    return _principal(info, principal)


def _principal(info: Json, principal: str | None) -> str | None:
    if principal is not None and info.get("principal", principal) != principal:
        return (
            f"Authenticated principal '{principal}' does not match principal "
            f"'{info['principal']}' set in `FrameworkInfo`"
        )
    return None


def executor_call(call: Json) -> str | None:
    """Checks an executor call by itself."""
    kind = call.get("type")
    if kind is None:
        return _expecting("type")
    field = _EXECUTOR_FIELDS.get(kind)
    if field is not None and field not in call:
        return _expecting(field)
    return _update_call(call) if kind == "UPDATE" else None


def _update_call(call: Json) -> str | None:
    status = call["update"]["status"]
    who = f"executor {call['executor_id']['value']} of framework {call['framework_id']['value']}"
    if "uuid" not in status:
        return _expecting("uuid")
    if not is_uuid(status["uuid"]):
        return "Not a valid UUID"
    if status.get("executor_id", call["executor_id"]) != call["executor_id"]:
        return f"ExecutorID in Call: {call['executor_id']['value']} does not match that of the status"
    if status.get("source") != "SOURCE_EXECUTOR":
        return f"Received Call from {who} with invalid source, expecting 'SOURCE_EXECUTOR'"
    if status["state"] == "TASK_STAGING":
        return f"Received TASK_STAGING from {who} which is not allowed"
    return None


# -- frameworks --


def capabilities(info: Json) -> frozenset[str]:
    """The names of a FrameworkInfo's capabilities."""
    return frozenset(c["type"] for c in info.get("capabilities", []) if "type" in c)


def roles(info: Json) -> tuple[str, ...]:
    """The roles that a framework subscribes to."""
    if "MULTI_ROLE" in capabilities(info):
        return tuple(info.get("roles", ()))
    return (info.get("role", "*"),)


def framework_info(info: Json) -> str | None:
    """Checks a FrameworkInfo; the text goes out as an ERROR event, with status 200 (17)."""
    if "id" in info and (problem := identifier(info["id"]["value"])):
        return problem
    multi = "MULTI_ROLE" in capabilities(info)
    if multi and "role" in info:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
    if not multi and info.get("roles"):
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    given = roles(info)
    if len(set(given)) != len(given):
        return f"'FrameworkInfo.roles' contains duplicate items: {', '.join(given)}"
    field = "FrameworkInfo.roles" if multi else "FrameworkInfo.role"
    for name in given:
        if problem := role(name):
            return f"'{field}' {'contains' if multi else 'is not'} {_valid_role(multi)}: {problem}"
    if not 0 <= info.get("failover_timeout", 0.0) < 9e9:
        return f"The framework failover_timeout ({info['failover_timeout']:g}) is invalid"
    return None


def _valid_role(multi: bool) -> str:
    return "invalid role" if multi else "a valid role"


def identifier(value: str) -> str | None:
    """Checks an id that becomes part of a path."""
    if not value:
        return "ID must not be empty"
    if len(value) > 255:
        return f"ID must not be greater than 255 characters: '{value[:40]}…'"
    if value in {".", ".."}:
        return f"'{value}' is disallowed"
    if any(c in "/\\" or c.isspace() or ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        return f"'{value}' contains invalid characters"
    return None


def role(name: str) -> str | None:
    """Checks a role name; roles may be nested with slashes."""
    if name == "*":
        return None
    if not name:
        return "Empty role name is invalid"
    if name.startswith("/") or name.endswith("/"):
        return f"Role '{name}' cannot start or end with a slash"
    for part in name.split("/"):
        if not part:
            return f"Role '{name}' cannot contain two adjacent slashes"
        if part in {".", "..", "*"}:
            return f"Role component '{part}' is invalid"
        if part.startswith("-"):
            return f"Role component '{part}' is invalid because it begins with a dash"
        if re.search(r"[\s\x08]", part):
            return f"Role component '{part}' is invalid because it contains backspace or whitespace"
    return None


# -- tasks --


def task(
    info: Json,
    *,
    agent_id: str,
    known_ids: Collection[str],
    executors: Mapping[str, Json],
    framework_id: str,
) -> str | None:
    """Checks one task of a LAUNCH.

    ``known_ids``: the framework's tasks that are not over. ``executors``: the framework's executors
    on the agent, by id. The text is the message of a TASK_ERROR with REASON_TASK_INVALID (13).
    """
    task_id = info["task_id"]["value"]
    if problem := identifier(task_id):
        return f"TaskID '{task_id}' is invalid: {problem}" if task_id else problem
    if task_id in known_ids:
        return f"Task has duplicate ID: {task_id}"
    if info["agent_id"]["value"] != agent_id:
        return f"Task uses invalid agent {info['agent_id']['value']} while agent {agent_id} is expected"
    if ("executor" in info) == ("command" in info):
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    if problem := _resources(info.get("resources", []), "Task"):
        return problem
    if not res.from_json(info.get("resources", [])):
        return "Task uses no resources"
    if "executor" in info:
        return executor(info["executor"], framework_id=framework_id, executors=executors)
    return command(info["command"])


def executor(info: Json, *, framework_id: str, executors: Mapping[str, Json]) -> str | None:
    """Checks the executor of a task or of a task group."""
    executor_id = info["executor_id"]["value"]
    if problem := identifier(executor_id):
        return f"ExecutorInfo.executor_id is invalid: {problem}"
    if info.get("framework_id", {"value": framework_id})["value"] != framework_id:
        given = info["framework_id"]["value"]
        return f"ExecutorInfo has an invalid FrameworkID (Actual: {given} vs Expected: {framework_id})"
    if info.get("type") == "DEFAULT":
        return (
            "'ExecutorInfo.type' DEFAULT needs nested containers, which this local Mesos does not have"
        )
    if "command" not in info:
        return "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
    if problem := command(info["command"]):
        return problem
    if problem := _resources(info.get("resources", []), "Executor"):
        return problem
    running = executors.get(executor_id)
    if running is not None and not compatible(running, info):
        return (
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n"
            "------------------------------------------------------------\n"
            f"Existing ExecutorInfo:\n{running}\n"
            "------------------------------------------------------------\n"
            f"ExecutorInfo:\n{info}\n"
            "------------------------------------------------------------\n"
        )
    return None


def compatible(one: Json, other: Json) -> bool:
    """Whether two ExecutorInfos with one id describe the same executor."""

    def core(info: Json) -> Json:
        kept = {k: v for k, v in info.items() if k not in {"framework_id", "resources", "type"}}
        kept["command"] = {"shell": True, **info.get("command", {})}
        kept["resources"] = res.from_json(info.get("resources", []))
        return kept

    return core(one) == core(other)


def command(info: Json) -> str | None:
    """Checks a CommandInfo."""
    for variable in info.get("environment", {}).get("variables", []):
        if variable.get("type", "VALUE") != "VALUE" or "value" not in variable:
            return f"Environment variable '{variable['name']}' of type 'VALUE' must have a value set"
        if (
            not variable["name"]
            or "=" in variable["name"]
            or "\0" in variable["name"] + variable["value"]
        ):
            return f"Environment variable {variable['name']!r} is invalid"
    for text in (info.get("value", ""), *info.get("arguments", [])):
        if "\0" in text:
            return "CommandInfo contains a NUL character"
    return None


def _resources(items: list[Json], whose: str) -> str | None:
    try:
        given = res.from_json(items)
    except ValueError as error:
        return f"{whose} uses invalid resources: {error}"
    for (name, _), amount in given.scalars.items():
        if name == "gpus" and amount % 1000:
            return f"{whose} uses invalid resources: The 'gpus' resource must be an unsigned integer"
    return None


def task_group(group: Json, **context: Any) -> str | None:
    """Checks a task group; one bad task spoils all (REASON_TASK_GROUP_INVALID)."""
    tasks = group["task_group"].get("tasks", [])
    if not tasks:
        return "Task group cannot be empty"
    problem = executor(
        group["executor"], framework_id=context["framework_id"], executors=context["executors"]
    )
    if problem:
        return problem
    seen: set[str] = set(context["known_ids"])
    for info in tasks:
        if "executor" in info and not compatible(info["executor"], group["executor"]):
            return "The `ExecutorInfo` of the task is not equal to that of its task group"
        whole = {**info, "executor": group["executor"]}
        whole.pop("command", None)
        problem = task(whole, **{**context, "known_ids": seen})
        if problem:
            return f"Task '{info['task_id']['value']}' is invalid: {problem}"
        seen.add(info["task_id"]["value"])
    return None
