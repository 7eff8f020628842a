from __future__ import annotations

import pytest

from framework.local import command_executor, durations


@pytest.mark.parametrize("length", [0.0, 0.25, 5.0, 90.0, 7200.0, 86400.0, 1209600.0])
def test_what_is_written_is_read(length: float) -> None:
    assert durations.read(durations.show(length)) == length
    # It has nothing but the standard library, and so a reader of its own.
    assert command_executor.seconds(durations.show(length), 7.0) == length


def test_a_command_executor_has_defaults() -> None:
    assert command_executor.seconds("", 7.0) == 7.0
