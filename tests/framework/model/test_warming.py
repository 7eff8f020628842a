"""What msgspec does to a process in which two threads decode a struct for the first time."""

from __future__ import annotations

import subprocess
import sys

_CHILD = """
import sys, threading
import msgspec
from framework.model.warming import warm_up

sys.setswitchinterval(1e-6)
shapes = []
for number in range(100):
    inner = msgspec.defstruct(f"Inner{number}", [(f"g{i}", int | None, None) for i in range(40)])
    fields = [(f"f{i}", dict[str, list[int | str | None]]) for i in range(40)]
    shapes.append(msgspec.defstruct(f"Outer{number}", [*fields, ("inner", list[inner])]))
assert warm_up() >= 200
body = {f"f{i}": {"a": [1]} for i in range(40)} | {"inner": [{"g1": 1}]}
for shape in shapes:
    ready = threading.Barrier(4)
    def decode():
        ready.wait()
        msgspec.convert(body, shape)
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_may_decode_what_is_warm() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
