"""The tables of clusters and of all that belongs to them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
SHORT, LONG = sa.String(255), sa.String(1023)


def column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def upgrade() -> None:
    op.create_table(
        "gateway_counters",
        sa.Column("scope", sa.String(1100), primary_key=True),
        column("value", sa.BigInteger()),
    )
    op.execute("insert into gateway_counters (scope, value) values ('', 0)")
    op.create_table(
        "gateway_products",
        sa.Column("name", SHORT, primary_key=True),
        sa.Column("version", SHORT, primary_key=True),
        column("revision", NUMBER),
        column("body", sa.Text()),
    )
    op.create_table(
        "gateway_clusters",
        sa.Column("id", SHORT, primary_key=True),
        column("key", LONG),
        column("job", LONG),
        column("owner", SHORT),
        column("project", SHORT),
        column("product", SHORT),
        column("version", SHORT),
        column("phase", sa.String(40)),
        column("busy", sa.Boolean()),
        sa.Column("expires_at", sa.Float()),
        column("revision", NUMBER),
        column("body", sa.Text()),
    )
    op.create_index("gateway_clusters_by_key", "gateway_clusters", ["key"], unique=True)
    op.create_index("gateway_clusters_by_job", "gateway_clusters", ["job"], unique=True)
    op.create_index("gateway_clusters_by_owner", "gateway_clusters", ["owner"])
    op.create_index("gateway_clusters_by_product", "gateway_clusters", ["product", "version"])
    op.create_table(
        "gateway_events",
        sa.Column("sequence", NUMBER, primary_key=True),
        column("cluster", SHORT),
        column("body", sa.Text()),
    )
    op.create_index("gateway_events_by_cluster", "gateway_events", ["cluster", "sequence"])
    op.create_table(
        "gateway_networks",
        sa.Column("name", SHORT, primary_key=True),
        column("body", sa.Text()),
    )
    op.create_table(
        "gateway_addresses",
        sa.Column("network", SHORT, primary_key=True),
        sa.Column("address", sa.String(45), primary_key=True),
        column("position", sa.Integer()),
        column("used", sa.Boolean()),
        column("cluster", LONG),
        column("node", SHORT),
    )
    op.create_index("gateway_addresses_by_cluster", "gateway_addresses", ["cluster"])
    op.create_table(
        "gateway_disks",
        sa.Column("host", SHORT, primary_key=True),
        sa.Column("name", SHORT, primary_key=True),
        column("body", sa.Text()),
    )
    op.create_table(
        "gateway_secrets",
        sa.Column("cluster", SHORT, primary_key=True),
        sa.Column("name", SHORT, primary_key=True),
        column("text", sa.Text()),
    )
    op.create_table(
        "gateway_kv",
        sa.Column("key", sa.String(2048), primary_key=True),
        column("value", sa.LargeBinary()),
        column("flags", sa.Text()),
        column("created", NUMBER),
        column("modified", NUMBER),
    )
