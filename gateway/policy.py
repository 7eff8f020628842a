"""What a job may ask of the machines it runs on. Pure: a spec and the rules in, a refusal out.

By default nothing that reaches beyond the container is allowed, as Aurora's own scheduler has it:
docker parameters and host paths give whoever may submit a job the power of root on every agent.
"""

from __future__ import annotations

import posixpath
import tomllib
from pathlib import Path

import msgspec

from executor.task import Container, Volume, decode_task
from framework.model.errors import Forbidden, Invalid
from framework.model.jobs import JobSpec

# What these do is decided by the rules on volumes and on privileged, whatever the list says.
_VOLUME_PARAMETERS = frozenset({"v", "volume", "mount", "volumes-from"})


class DockerRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``parameters``: the names of the docker parameters that are allowed, without dashes."""

    parameters: tuple[str, ...] = ()
    privileged: bool = False


class VolumeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Host directories that may be mounted, with what is below them."""

    read_only: tuple[str, ...] = ()
    read_write: tuple[str, ...] = ()


class UserRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``allowed``: whom a task may run as besides its role."""

    allowed: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of a policy file: tables ``docker``, ``volumes`` and ``users``."""

    docker: DockerRules = DockerRules()
    volumes: VolumeRules = VolumeRules()
    users: UserRules = UserRules()


def read_policy(path: Path) -> Policy:
    """Returns the policy in a TOML file; raises :class:`Invalid` with the file and what is wrong."""
    try:
        policy = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Policy)
    except OSError as error:
        raise Invalid(f"the policy file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"the policy file {path} is wrong: {error}") from None
    for host_path in (*policy.volumes.read_only, *policy.volumes.read_write):
        if not host_path.startswith("/"):
            raise Invalid(f"the policy file {path}: the volume {host_path!r} is not an absolute path")
    return policy


def check(spec: JobSpec, policy: Policy) -> None:
    """Raises :class:`Forbidden`, naming the rule, for what the policy does not allow."""
    if spec.config.container is not None:
        _check_container(spec.config.container, policy)
    try:
        user = decode_task(spec.config.executor_data).task.user
    except ValueError as error:
        raise Invalid(f"the task of {spec.key} cannot be read: {error}") from None
    if user not in (None, "", spec.key.role, "{{role}}", "{{mesos.role}}", *policy.users.allowed):
        raise Forbidden(
            f"the task asks to run as user {user!r}; it runs as its role {spec.key.role!r} "
            "unless the policy's users.allowed names another"
        )


def _check_container(container: Container, policy: Policy) -> None:
    for parameter in container.parameters:
        _check_parameter(parameter.name.lstrip("-").strip().lower(), parameter.value, policy)
    for volume in container.volumes:
        _check_volume(volume, policy.volumes)


def _check_parameter(name: str, value: str, policy: Policy) -> None:
    if name == "privileged":
        if value.strip().lower() != "false" and not policy.docker.privileged:
            raise Forbidden("privileged containers are refused by the policy (docker.privileged)")
    elif name in _VOLUME_PARAMETERS:
        raise Forbidden(
            f"the docker parameter {name!r} is refused: name host paths under volumes, "
            "where the policy (volumes.read_only, volumes.read_write) can judge them"
        )
    elif name not in policy.docker.parameters:
        allowed = ", ".join(policy.docker.parameters) or "none"
        raise Forbidden(
            f"the docker parameter {name[:60]!r} is refused by the policy "
            f"(docker.parameters; allowed: {allowed})"
        )


def _check_volume(volume: Volume, rules: VolumeRules) -> None:
    allowed = rules.read_write if volume.mode == "RW" else (*rules.read_only, *rules.read_write)
    path = volume.host_path
    # Judged as written: a path that says ".." may lead elsewhere than it seems, through a link.
    plain = path.startswith("/") and "\0" not in path and ".." not in path.split("/")
    if not plain or not any(_is_below(path, root) for root in allowed):
        rule = "volumes.read_write" if volume.mode == "RW" else "volumes.read_only"
        raise Forbidden(
            f"mounting the host path {path[:200]!r} ({volume.mode}) is refused by the policy ({rule}; "
            f"allowed: {', '.join(allowed) or 'none'})"
        )


def _is_below(path: str, root: str) -> bool:
    normal, top = posixpath.normpath(path), posixpath.normpath(root)
    # normpath keeps two leading slashes, which POSIX lets mean something else; Linux does not.
    normal, top = "/" + normal.lstrip("/"), "/" + top.lstrip("/")
    return normal == top or normal.startswith(top.rstrip("/") + "/")
