"""Where the values of the options come from.

A value comes from the command line, else from the environment (``MESOS_GATEWAY_PORT``), else from
the TOML file of ``--config`` (``port = 8888``), else it is the default.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import option_values as values
from gateway.options import PREFIX, TABLE, OptionError, Options, Row

_ASIDE = ("--config", "--help", "--version")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What stood on the command line: texts by field, and what only a command line has."""

    given: Mapping[str, tuple[str, ...]]
    config: str | None = None
    help: bool = False
    version: bool = False


def parse_arguments(argv: Sequence[str]) -> CommandLine:
    """Reads flags (``--port=1``, ``--port 1``); raises :class:`OptionError`."""
    rows = {flag: row for row in TABLE for flag in row.flags}
    given: dict[str, tuple[str, ...]] = {}
    aside: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in ("--help", "-h", "--version"):
            aside["help" if flag in ("--help", "-h") else "version"] = True
            continue
        if flag not in rows and flag != "--config":
            raise OptionError(_unknown(word, [*rows, *_ASIDE]))
        row = rows.get(flag)
        if not equals and row is not None and row.is_switch:
            value = "true"
        elif not equals:
            if not words or words[0].startswith("--"):
                raise OptionError(f"{flag} needs a value: {flag}={row.shows if row else 'FILE'}")
            value = words.pop(0)
        if row is None:
            aside["config"] = value
        else:
            before = given.get(row.field, ()) if row.repeats else ()
            given[row.field] = (*before, value)
    return CommandLine(given, **aside)


def resolve(line: CommandLine, environment: Mapping[str, str]) -> Options:
    """Returns all options: command line before environment before file before default."""
    path = line.config or environment.get(PREFIX + "CONFIG")
    stored = read_file(Path(path)) if path else {}
    chosen: dict[str, Any] = {}
    for row in TABLE:
        if row.field in line.given:
            chosen[row.field] = row.value(line.given[row.field], row.flags[0])
        elif variable := next((v for v in row.variables if v in environment), None):
            chosen[row.field] = row.value(_several(row, environment[variable]), variable)
        elif row.field in stored:
            chosen[row.field] = row.value(stored[row.field], f"{path}: {row.key}")
    return _together(Options(**chosen))


def _together(options: Options) -> Options:
    """Returns the options; raises :class:`OptionError` where two of them do not go together."""
    if (options.tls_cert is None) is not (options.tls_key is None):
        raise OptionError("--tls-cert and --tls-key go together: a certificate, and its key")
    if options.tls_client_ca is not None and options.tls_cert is None:
        raise OptionError("--tls-client-ca needs --tls-cert and --tls-key: clients show theirs over TLS")
    if options.auth == ("none",) and not values.is_loopback(options.address):
        raise OptionError(
            f"--address: {options.address} could be reached from other machines, and nobody is asked "
            "who they are: whoever reached it could run anything. Ask with --auth tokens or --auth "
            "basic, or listen on 127.0.0.1"
        )
    return options


def _several(row: Row, text: str) -> tuple[str, ...]:
    """An environment variable holds the values of an option that repeats with "|" between them."""
    return tuple(text.split("|")) if row.repeats else (text,)


def read_file(path: Path) -> dict[str, tuple[str, ...]]:
    """Returns the values of a TOML file as texts, by field. Raises :class:`OptionError`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config: {path} is not TOML: {error}") from None
    rows = {key: row for row in TABLE for key in row.keys}
    found: dict[str, tuple[str, ...]] = {}
    for name, value in table.items():
        row = rows.get(name.replace("_", "-"))
        if row is None:
            raise OptionError(f"{path}: {_unknown(name, list(rows))}")
        found[row.field] = _texts(row, value, f"{path}: {name}")
    return found


def _texts(row: Row, value: Any, where: str) -> tuple[str, ...]:
    several = value if isinstance(value, list) and row.repeats else [value]
    texts = []
    for one in several:
        if not isinstance(one, str | int | float):
            raise OptionError(f"{where}: {type(one).__name__} is not what this option takes")
        texts.append(str(one).lower() if isinstance(one, bool) else str(one))
    return tuple(texts)


def _unknown(word: str, known: Sequence[str]) -> str:
    name = word.partition("=")[0]
    if not word.startswith("--") and known[0].startswith("--"):
        return f"{word[:60]!r} is not an option; options begin with --, see --help"
    near = difflib.get_close_matches(name, known, 1, cutoff=0.6)
    return f"unknown option {name[:60]}" + (f"; did you mean {near[0]}?" if near else "; see --help")
