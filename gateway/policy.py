"""What a job may ask of the machines it runs on. Pure: a spec and the rules in, a refusal out.

By default nothing that reaches beyond the container is allowed, as Aurora's own scheduler has it:
docker parameters and host paths give whoever may submit a job the power of root on every agent.
"""

from __future__ import annotations

import fnmatch
import posixpath
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from executor.task import Container, Volume, decode_task
from framework.model.errors import Forbidden, Invalid, NotSupported
from framework.model.jobs import OWN_EXECUTOR, JobSpec

# What these do is decided by the rules on volumes and on privileged, whatever the list says.
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")
_VOLUME_PARAMETERS = frozenset({"v", "volume", "mount", "volumes-from"})


class DockerRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``parameters``: the docker parameters that are allowed, without dashes: ``env`` with any value,
    ``network=bridge`` with this one. ``images``: patterns (``*``, ``?``) one of which an image's name
    must match; none: any image.
    """

    parameters: tuple[str, ...] = ()
    privileged: bool = False
    images: tuple[str, ...] = ()


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
    """Raises :class:`Forbidden`, naming the rule, for what the policy does not allow.

    :class:`NotSupported` for the data of an executor that does not run here: what it would mean to
    ours nobody has meant.
    """
    if spec.config.executor_name != OWN_EXECUTOR:
        raise NotSupported(
            f"job {spec.key} asks for the executor {spec.config.executor_name[:60]!r}; here runs only "
            f"{OWN_EXECUTOR}: leave executor_config out"
        )
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
    images = policy.docker.images
    if container.image.startswith("-"):
        raise Invalid(f"the image {container.image[:200]!r} is an option, not a name")
    if images and not any(fnmatch.fnmatchcase(container.image, pattern) for pattern in images):
        raise Forbidden(
            f"the image {container.image[:200]!r} is refused by the policy (docker.images; "
            f"allowed: {', '.join(images)})"
        )
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
    elif not {name, f"{name}={value}"} & set(policy.docker.parameters):
        allowed = ", ".join(policy.docker.parameters) or "none"
        raise Forbidden(
            f"the docker parameter {name[:60]}={value[:60]!r} is refused by the policy "
            f"(docker.parameters; allowed: {allowed})"
        )


def _check_volume(volume: Volume, rules: VolumeRules) -> None:
    allowed = rules.read_write if volume.mode == "RW" else (*rules.read_only, *rules.read_write)
    path = volume.host_path
    # Judged as written: a path that says ".." may lead elsewhere than it seems, through a link.
    plain = path.startswith("/") and "\0" not in path and ".." not in path.split("/")
    if not plain or not any(_is_below(path, root) for root in allowed) or _holds_socket(path, allowed):
        rule = "volumes.read_write" if volume.mode == "RW" else "volumes.read_only"
        raise Forbidden(
            f"mounting the host path {path[:200]!r} ({volume.mode}) is refused by the policy ({rule}; "
            f"allowed: {', '.join(allowed) or 'none'})"
        )


def _holds_socket(path: str, allowed: Iterable[str]) -> bool:
    """Whether the Docker daemon's socket lies there, and the policy does not name just this path.

    A socket is not made harmless by mounting it read-only: whoever can write to it is root.
    """
    named = posixpath.normpath(path) in {posixpath.normpath(root) for root in allowed}
    return not named and any(_is_below(socket, path) for socket in _SOCKETS)


def _is_below(path: str, root: str) -> bool:
    normal, top = posixpath.normpath(path), posixpath.normpath(root)
    # normpath keeps two leading slashes, which POSIX lets mean something else; Linux does not.
    normal, top = "/" + normal.lstrip("/"), "/" + top.lstrip("/")
    return normal == top or normal.startswith(top.rstrip("/") + "/")
