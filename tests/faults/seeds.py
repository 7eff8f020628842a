"""Chance that can be repeated: every fault test takes a seed, which stands in its name.

Each run draws new seeds, so that the runs together see more than any one of them. A failure names
its test ``test_…[seed-123]``; ``MESOS_GATEWAY_SEED=123`` runs every seeded test with that seed alone.
``MESOS_GATEWAY_LONG=1`` (``bin/test --long``) draws as many as the fault deserves.

Where several processes share the tests of a run, each collects them all, and must find the same
names: the first draws one number, the others inherit it in ``MESOS_GATEWAY_RUN``.
"""

from __future__ import annotations

import os
import random
import secrets
from typing import Any

import pytest

LONG = bool(os.environ.get("MESOS_GATEWAY_LONG"))
_GIVEN = os.environ.get("MESOS_GATEWAY_SEED")
_CHANCE = random.Random(os.environ.setdefault("MESOS_GATEWAY_RUN", str(secrets.randbits(64))))


def draw(count: int) -> list[int]:
    """Returns ``count`` new seeds, or the one that is given."""
    if _GIVEN is not None:
        return [int(_GIVEN)]
    return [_CHANCE.randrange(10**9) for _ in range(count)]


def seeded(short: int, long: int = 20) -> Any:
    """Runs a test once per seed, its argument ``seed``: ``short`` of them, or ``long``."""
    seeds = draw(long if LONG else short)
    return pytest.mark.parametrize("seed", seeds, ids=[f"seed-{seed}" for seed in seeds])
