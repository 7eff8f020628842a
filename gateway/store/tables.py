"""The tables of the gateway's own values. Bodies are JSON; columns besides are what is searched for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_SHORT, _LONG = String(255), String(1023)


def _column(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


# Scope "": the number of the last transaction; every writer changes this row first.
counters = Table(
    "gateway_counters",
    metadata,
    Column("scope", String(1100), primary_key=True),
    _column("value", BigInteger()),
)
products = Table(
    "gateway_products",
    metadata,
    Column("name", _SHORT, primary_key=True),
    Column("version", _SHORT, primary_key=True),
    _column("revision", _NUMBER),
    _column("body", Text()),
)
clusters = Table(
    "gateway_clusters",
    metadata,
    Column("id", _SHORT, primary_key=True),
    _column("key", _LONG),
    _column("job", _LONG),
    _column("owner", _SHORT),
    _column("project", _SHORT),
    _column("product", _SHORT),
    _column("version", _SHORT),
    _column("phase", String(40)),
    Column("name", _SHORT, nullable=False, server_default=""),
    # Whether other projects see it, too.
    Column("shared", Boolean(), nullable=False, server_default=false()),
    # Whether the engine has something to do with it.
    _column("busy", Boolean()),
    Column("expires_at", Float()),
    _column("revision", _NUMBER),
    _column("body", Text()),
)
Index("gateway_clusters_by_key", clusters.c.key, unique=True)
Index("gateway_clusters_by_job", clusters.c.job, unique=True)
Index("gateway_clusters_by_owner", clusters.c.owner)
Index("gateway_clusters_by_product", clusters.c.product, clusters.c.version)
Index("gateway_clusters_by_project", clusters.c.project, clusters.c.name)
Index("gateway_clusters_by_name", clusters.c.name)
Index("gateway_clusters_by_revision", clusters.c.revision)
events = Table(
    "gateway_events",
    metadata,
    Column("sequence", _NUMBER, primary_key=True),
    _column("cluster", _SHORT),
    _column("body", Text()),
)
Index("gateway_events_by_cluster", events.c.cluster, events.c.sequence)
networks = Table(
    "gateway_networks",
    metadata,
    Column("name", _SHORT, primary_key=True),
    _column("body", Text()),
)
addresses = Table(
    "gateway_addresses",
    metadata,
    Column("network", _SHORT, primary_key=True),
    Column("address", String(45), primary_key=True),
    # Where it stands in its network's pool.
    _column("position", Integer()),
    _column("used", Boolean()),
    _column("cluster", _LONG),
    _column("node", _SHORT),
)
Index("gateway_addresses_by_cluster", addresses.c.cluster)
disks = Table(
    "gateway_disks",
    metadata,
    Column("host", _SHORT, primary_key=True),
    Column("name", _SHORT, primary_key=True),
    _column("body", Text()),
)
secrets = Table(
    "gateway_secrets",
    metadata,
    Column("cluster", _SHORT, primary_key=True),
    Column("name", _SHORT, primary_key=True),
    _column("text", Text()),
)
kv = Table(
    "gateway_kv",
    metadata,
    Column("key", String(2048), primary_key=True),
    _column("value", LargeBinary()),
    # An unsigned number of 64 bits, which no column of a number holds.
    _column("flags", Text()),
    _column("created", _NUMBER),
    _column("modified", _NUMBER),
)
objects = Table(
    "gateway_objects",
    metadata,
    Column("kind", _SHORT, primary_key=True),
    Column("id", _SHORT, primary_key=True),
    _column("project", _SHORT),
    _column("name", _SHORT),
    # Whether other projects see it, too.
    _column("shared", Boolean()),
    _column("revision", _NUMBER),
    _column("body", Text()),
)
Index("gateway_objects_by_name", objects.c.kind, objects.c.project, objects.c.name, unique=True)
Index("gateway_objects_named", objects.c.kind, objects.c.name)
