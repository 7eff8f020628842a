"""Importing the driver leaves the process as it was. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import logging, signal, sys, threading
def mine(signum, frame): pass
{before}
def load():
    try:
        import framework.mesos.driver
    except BaseException as error:
        print("import failed:", repr(error))
{load}
print("handler", signal.getsignal(signal.SIGINT) in (mine, signal.default_int_handler))
print("signal", signal.signal.__module__)
logger = logging.getLogger("pymesos")
print("logger", logger.handlers, logger.level, logger.propagate)
logger.error("pymesos speaks")
"""


@pytest.mark.parametrize(
    ("before", "load"),
    [
        ("", "load()"),
        ("signal.signal(signal.SIGINT, mine)", "load()"),
        ("", "t = threading.Thread(target=load); t.start(); t.join()"),
        ("import pymesos", "load()"),
    ],
    ids=["main thread", "own handler", "other thread", "somebody imported pymesos before"],
)
def test_signals_and_logging_stay_as_they_were(before: str, load: str) -> None:
    script = CHECK.format(before=before, load=load)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["handler True", "signal signal", "logger [] 0 True"]
    # No handler of pymesos's own: only logging's last resort writes, the bare text.
    assert result.stderr.splitlines() == ["pymesos speaks"]


def test_a_signal_handler_set_while_importing_is_kept() -> None:
    """The guard recognises pymesos's call; nobody else's is swallowed."""
    script = """
import signal, threading
seen = []
real = __import__("importlib").import_module
import framework.mesos.masters
import importlib
def slow(name):
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    return real(name)
importlib.import_module = slow
import framework.mesos.driver
signal.raise_signal(signal.SIGINT)
print(seen)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[1]"
