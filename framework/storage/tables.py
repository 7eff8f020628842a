"""The tables of the scheduler's state."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()
# One row, id 1.
leader = Table(
    "scheduler_leader",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("framework_id", String(255)),
)
configs = Table(
    "scheduler_configs",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)
# The four parts of a key have 255 characters at most each.
jobs = Table(
    "scheduler_jobs",
    metadata,
    Column("id", String(1023), primary_key=True),
    Column("body", Text, nullable=False),
)
tasks = Table(
    "scheduler_tasks",
    metadata,
    Column("id", String(1200), primary_key=True),
    Column("job", String(1023), nullable=False),
    Column("instance", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("body", Text, nullable=False),
)
updates = Table(
    "scheduler_updates",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("job", String(1023), nullable=False),
    Column("status", String(40), nullable=False),
    Column("body", Text, nullable=False),
)
events = Table(
    "scheduler_events",
    metadata,
    # Never given out twice, so that a reader can resume; the writer, of whom there is one, counts.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("cluster", String(255), nullable=False),
    Column("role", String(255), nullable=False),
    Column("job", String(1023), nullable=False),
    Column("body", Text, nullable=False),
)
Index("scheduler_events_by_role", events.c.cluster, events.c.role, events.c.sequence)
Index("scheduler_events_by_job", events.c.job, events.c.sequence)
