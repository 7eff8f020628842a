"""The revisions of the scheduler's tables.

A state knows its revision in the table ``scheduler_revision``. The first release had none, and
``scheduler_schema`` with the version 1 instead.
"""

from __future__ import annotations

from pathlib import Path

from framework.storage.revisions import Chain

CHAIN = Chain(
    directory=Path(__file__).parent,
    table="scheduler_revision",
    head="0002",
    first="0001",
    unmarked="scheduler_schema",
)
