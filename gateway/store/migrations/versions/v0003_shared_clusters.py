"""Clusters are found by their project and name, and other projects may see them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.migrations.versions.v0001_clusters import SHORT

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Clusters of before are of products: their names are found in no other way than in their bodies.
    op.add_column("gateway_clusters", sa.Column("name", SHORT, nullable=False, server_default=""))
    op.add_column(
        "gateway_clusters",
        sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("gateway_clusters_by_project", "gateway_clusters", ["project", "name"])
