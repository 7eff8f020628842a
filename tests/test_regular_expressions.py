"""No regular expression of ours takes long, whatever it is given."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Iterator

import pytest

import executor
import framework
import gateway
from tests.measured import Measured

# What drives nested quantifiers to their worst, 50,000 characters of it.
PROBES = ("a", "0", " ", "-", ".", "/", "{{", "ab.", "a=", "1,", "\\", '"', "é")
LIMIT = 0.01


def expressions() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Every compiled expression that a module keeps."""
    for package in (executor, framework, gateway):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.endswith("__main__") or ".versions." in module.name:
                continue
            found = vars(importlib.import_module(module.name))
            for name, value in found.items():
                if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                    yield f"{module.name}.{name}", value


@pytest.mark.parametrize("pattern", [pytest.param(pattern, id=name) for name, pattern in expressions()])
def test_an_expression_is_linear(pattern: re.Pattern[str], measured: Measured) -> None:
    worst = 0.0
    # First a short one, at which a bad expression fails before it takes minutes.
    for length, probe in itertools.product((2_000, 50_000), PROBES):
        text = probe * (length // len(probe)) + "!"
        for ask in (pattern.match, pattern.fullmatch):
            # The best of three of this thread's own time: who else the machine works for does not count.
            took = min(_time(ask, text) for _ in range(3))
            assert took < LIMIT, (pattern.pattern, probe)
            worst = max(worst, took)
    measured("bad input: a regular expression at its worst, ms", 1e3 * worst)


def _time(ask: object, text: str) -> float:
    began = time.thread_time()
    ask(text)  # type: ignore[operator]
    return time.thread_time() - began


def test_there_are_some() -> None:
    assert len(list(expressions())) > 20
