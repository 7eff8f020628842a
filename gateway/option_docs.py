"""The table of options as text for the terminal and as Markdown for the README."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from gateway.options import PREFIX, TABLE, Row

_WIDTH = 96
_INDENT = 26

_OPENING = """\
usage: mesos-gateway [OPTION]…

A REST server for jobs on Apache Mesos. A value comes from the command line, else from the
environment (--port: MESOS_GATEWAY_PORT), else from the file of --config, else it is the default.
"""


def help_text(table: Sequence[Row] = TABLE) -> str:
    """Returns what ``--help`` prints."""
    parts = [_OPENING]
    for group, rows in _groups(table):
        parts.append(f"{group}:")
        parts += [_help_row(row) for row in rows]
        parts.append("")
    parts += [
        "Also:",
        _line("--config=FILE", "TOML file with options: port = 8888"),
        _line("--version", "print the version and exit"),
        _line("--help", "print this and exit"),
    ]
    return "\n".join(parts) + "\n"


def markdown(table: Sequence[Row] = TABLE) -> str:
    """Returns the options as a table for the README."""
    lines = ["| option | environment | default | what it does |", "|---|---|---|---|"]
    for row in table:
        names = ", ".join(f"`{flag}`" for flag in row.flags)
        values = f" `{_escaped(row.shows)}`" if row.shows else ""
        cells = (names + values, f"`{row.variables[0]}`", _default(row), _escaped(row.text))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| `--config` `FILE` | `{PREFIX}CONFIG` | | TOML file with options: `port = 8888` |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _groups(table: Sequence[Row]) -> Iterable[tuple[str, Iterable[Row]]]:
    return groupby(table, lambda row: row.group)


def _help_row(row: Row) -> str:
    flag = row.flags[0] + (f"={row.shows}" if row.shows else "")
    also = f"; also {', '.join(row.flags[1:])}" if row.flags[1:] else ""
    default = _plain_default(row)
    shown = f" (default: {default})" if default and "default:" not in row.text else ""
    return _line(flag, row.text + also + shown)


def _line(flag: str, text: str) -> str:
    lines = textwrap.wrap(text, _WIDTH - _INDENT)
    first = f"  {flag}"
    if len(first) >= _INDENT:
        return "\n".join([first, *(" " * _INDENT + line for line in lines)])
    return "\n".join([first.ljust(_INDENT) + lines[0], *(" " * _INDENT + line for line in lines[1:])])


def _plain_default(row: Row) -> str:
    if row.default in (None, "", (), False):
        return ""
    if isinstance(row.default, range):
        return f"{row.default.start}-{row.default.stop - 1}"
    if isinstance(row.default, tuple):
        return ",".join(row.default)
    if isinstance(row.default, float):
        return f"{row.default:g}" if row.default < 1e5 else f"{row.default:.0f}"
    return str(row.default)


def _default(row: Row) -> str:
    if row.field == "parallel":
        return "16 per processor"
    plain = _plain_default(row)
    return f"`{plain}`" if plain else ""
