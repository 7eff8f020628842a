"""The revisions of the gateway's own tables, which lie beside the scheduler's in one database."""

from __future__ import annotations

from pathlib import Path

from framework.storage.revisions import Chain

CHAIN = Chain(directory=Path(__file__).parent, table="gateway_revision", head="0004")
