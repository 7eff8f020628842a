"""How answers are shown: tables for people, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

_CONTROL = {n: f"\\x{n:02x}" for n in (*range(9), *range(11, 32), 127)}


def show_json(value: Any) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2))


def show_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns as wide as their widest cell; nothing but the head for no rows."""
    texts = [[cell(one) for one in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(head), *texts]) for n in range(len(head))]
    for row in [list(head), *texts]:
        padded = (one.ljust(width) for one, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def cell(value: Any) -> str:
    """Returns a value on one line; what would move the terminal's cursor is written out."""
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return ",".join(cell(one) for one in value) or "-"
    return plain(str(value)).replace("\n", " ")


def plain(text: str) -> str:
    """Returns a text that comes from elsewhere without what a terminal would obey."""
    return text.translate(_CONTROL)


def when(at: float | None) -> str:
    """Returns a time (seconds since the epoch) in local words; ``-`` for none."""
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
