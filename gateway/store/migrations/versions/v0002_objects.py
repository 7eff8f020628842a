"""The table of what the users of data clusters keep: templates, images, flavors, keypairs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.store.migrations.versions.v0001_clusters import NUMBER, SHORT, column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "gateway_objects",
        sa.Column("kind", SHORT, primary_key=True),
        sa.Column("id", SHORT, primary_key=True),
        column("project", SHORT),
        column("name", SHORT),
        column("shared", sa.Boolean()),
        column("revision", NUMBER),
        column("body", sa.Text()),
    )
    op.create_index(
        "gateway_objects_by_name", "gateway_objects", ["kind", "project", "name"], unique=True
    )
