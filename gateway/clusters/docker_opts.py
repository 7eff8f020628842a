"""``docker_opts`` of a node: options of ``docker run``, as a command line or as data. Pure.

Whether an option is *allowed* is decided by the server's policy; here it is understood or refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from gateway.jobs.faults import shown, suggestion

# What the executor's Docker runtime understands; a flag stands alone, the others take a value.
FLAGS = frozenset({"privileged", "init", "read-only"})
VALUED = frozenset(
    {
        "add-host",
        "cap-add",
        "cap-drop",
        "device",
        "dns",
        "dns-search",
        "domainname",
        "entrypoint",
        "env",
        "group-add",
        "hostname",
        "ipc",
        "label",
        "log-driver",
        "log-opt",
        "memory-swappiness",
        "network",
        "oom-score-adj",
        "pid",
        "pids-limit",
        "publish",
        "security-opt",
        "shm-size",
        "stop-signal",
        "sysctl",
        "tmpfs",
        "ulimit",
        "user",
        "userns",
        "uts",
        "volume",
        "workdir",
    }
)
_SHORT = {"e": "env", "l": "label", "h": "hostname", "w": "workdir", "u": "user", "v": "volume"} | {
    "p": "publish",
    "net": "network",
}
# A node's own fields say these; each with what to write instead.
_ELSEWHERE = {
    "name": "the node's name is its key under nodes",
    "hostname": "the node's hostname is its name",
    "network": "name networks under networks",
    "cpus": "use the field cpu",
    "c": "use the field cpu",
    "memory": "use the field mem",
    "m": "use the field mem",
}
# Said by people who start containers by hand; a node runs this way anyway.
_IMPLIED = frozenset({"d", "detach", "t", "tty", "i", "interactive", "td", "dt", "it", "ti"})

Mode = Literal["RO", "RW"]


class DockerOptions(msgspec.Struct, frozen=True):
    """``parameters`` by their long names, ``host_paths`` as (host, container, mode)."""

    parameters: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    host_paths: tuple[tuple[str, str, Mode], ...] = ()


class WrongOption(ValueError):
    """An option that is not understood; the sentence says which."""


def parse(value: Any) -> DockerOptions:
    """Returns the options in a command line, a list of its words, or a mapping name -> value(s).

    Raises :class:`WrongOption`.
    """
    parameters: list[tuple[str, str]] = []
    environment: dict[str, str] = {}
    host_paths: list[tuple[str, str, Mode]] = []
    for name, text in _pairs(value):
        if "\0" in text or len(text) > 4096:
            raise WrongOption(f"the value of --{name} is too long or holds a NUL")
        if name == "env":
            variable, found, content = text.partition("=")
            if not found or not variable:
                raise WrongOption(f"--env {shown(text)} should be NAME=VALUE")
            environment[variable] = content
        elif name == "volume":
            host_paths.append(_volume(text))
        else:
            parameters.append((name, text))
    return DockerOptions(tuple(parameters), tuple(environment.items()), tuple(host_paths))


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    if value is None or value == "_":  # "_" stands for "nothing" in old templates
        return
    if isinstance(value, str):
        try:
            yield from _words(shlex.split(value))
        except ValueError as error:
            if isinstance(error, WrongOption):
                raise
            raise WrongOption(f"this is not a command line: {error}") from None
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield from _words(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _item(key, item)
    else:
        raise WrongOption("expects a text of docker run options, a list of words, or a mapping")


def _item(key: Any, value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(key, str):
        raise WrongOption(f"{shown(key)} is not the name of an option")
    name = _known(key.lstrip("-"))
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Mapping) and name in ("env", "label", "sysctl", "log-opt"):
            yield from ((name, f"{k}={v}") for k, v in item.items())
        elif isinstance(item, bool):
            yield name, "true" if item else "false"
        elif isinstance(item, str | int | float):
            yield name, str(item)
        else:
            raise WrongOption(f"the value of {key!r} is neither a text nor a number: {shown(item)}")


def _words(words: list[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word in ("-", "--"):
            raise WrongOption(f"{shown(word)} is not an option: options begin with '-'")
        plain = word.lstrip("-")
        name, found, text = plain.partition("=")
        if not word.startswith("--") and not found and name[:1] in "evlpuwh" and len(name) > 1:
            # -eNAME=… and -v/a:/b as one word.
            if name not in _SHORT and name not in _IMPLIED:
                name, found, text = name[0], "=", name[1:]
        elif not word.startswith("--") and found and name[:1] == "e" and len(name) > 1:
            name, text = "e", plain[1:]
        if name in _IMPLIED and not found:
            continue
        name = _known(name)
        if found:
            yield name, text
        elif name in FLAGS:
            yield name, "true"
        else:
            following = next(rest, None)
            if following is None:
                raise WrongOption(f"the option --{name} needs a value")
            yield name, following


def _known(name: str) -> str:
    if name in _ELSEWHERE:
        raise WrongOption(f"the option {shown(name)} is not for docker_opts: {_ELSEWHERE[name]}")
    long = _SHORT.get(name, name)
    if long in _ELSEWHERE:
        raise WrongOption(f"the option {shown(name)} is not for docker_opts: {_ELSEWHERE[long]}")
    if long not in FLAGS and long not in VALUED:
        hint = suggestion(long, sorted(FLAGS | VALUED))
        raise WrongOption(f"the option {shown(name)} is not one that nodes can have{hint}")
    return long


def _volume(text: str) -> tuple[str, str, Mode]:
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[0].startswith("/") or not parts[1].startswith("/"):
        raise WrongOption(f"--volume {shown(text)} should be /HOST/PATH:/CONTAINER/PATH[:ro|rw]")
    flags = set(parts[2].split(",")) if len(parts) == 3 else set()
    # SELinux's labels change nothing of what is mounted where.
    unknown = sorted(flags - {"ro", "rw", "z", "Z"})
    if unknown:
        raise WrongOption(f"--volume {shown(text)}: {unknown[0]!r} is not a mode; use ro or rw")
    return parts[0], parts[1], "RO" if "ro" in flags else "RW"
