"""A gateway with a catalogue that can be changed, whose clusters nobody moves."""

from __future__ import annotations

import time

import pytest

from gateway.dataprocessing.catalogue_file import Offers, default_image
from gateway.dataprocessing.keypairs import Keypairs
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.store import Store
from tests.gateway.api.sahara.conftest import (
    access,
    app,
    client,
    commands,
    data,
    executed,
    gateway,
    http_server,
    keys,
    limits,
    mesos,
    mode,
    open_gateway,
    parts,
    plugins,
    pool,
    registry,
    service,
    source,
    store,
    workers,
)

__all__ = [
    "access",
    "app",
    "client",
    "commands",
    "data",
    "executed",
    "gateway",
    "http_server",
    "keys",
    "limits",
    "mesos",
    "mode",
    "open_gateway",
    "parts",
    "plugins",
    "pool",
    "registry",
    "service",
    "source",
    "store",
    "workers",
]


@pytest.fixture
def catalogue(store: Store) -> StoredCatalogue:
    return StoredCatalogue(store, Offers(), default_image(None), Keypairs(store, time.time), time.time)
