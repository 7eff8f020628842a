"""The tables of release 0.1.0 before it kept revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "scheduler_schema",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.Integer),
    )
    op.create_table(
        "scheduler_leader",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("framework_id", sa.String(255)),
    )
    op.create_table(
        "scheduler_configs",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "scheduler_jobs",
        sa.Column("id", sa.String(1023), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "scheduler_tasks",
        sa.Column("id", sa.String(1200), primary_key=True),
        sa.Column("job", sa.String(1023), nullable=False),
        sa.Column("instance", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "scheduler_updates",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("job", sa.String(1023), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "scheduler_events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("cluster", sa.String(255), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("job", sa.String(1023), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("scheduler_events_by_role", "scheduler_events", ["cluster", "role", "sequence"])
    op.create_index("scheduler_events_by_job", "scheduler_events", ["job", "sequence"])
    op.execute("insert into scheduler_schema (id, version) values (1, 1)")
    op.execute("insert into scheduler_leader (id, epoch) values (1, 0)")
