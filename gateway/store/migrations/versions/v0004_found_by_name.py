"""What is found by its name, whoever's it is, and clusters by when they have changed."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("gateway_clusters_by_name", "gateway_clusters", ["name"])
    op.create_index("gateway_clusters_by_revision", "gateway_clusters", ["revision"])
    op.create_index("gateway_objects_named", "gateway_objects", ["kind", "name"])
