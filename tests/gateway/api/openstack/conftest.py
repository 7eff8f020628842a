"""A gateway with a catalogue that can be changed, whose clusters nobody moves."""

from __future__ import annotations

import time

import pytest

from gateway.dataprocessing.catalogue_file import Offers, default_image
from gateway.dataprocessing.keypairs import Keypairs
from gateway.dataprocessing.offers import StoredCatalogue
from gateway.store import Store
from tests.gateway.api.sahara.conftest import *  # noqa: F403 -- fixtures


@pytest.fixture
def catalogue(store: Store) -> StoredCatalogue:
    return StoredCatalogue(store, Offers(), default_image(None), Keypairs(store, time.time), time.time)
