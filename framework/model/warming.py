"""What msgspec has to know of the structs is made ready before threads use them.

msgspec 0.22 looks at a struct when it is decoded for the first time. If another thread decodes it, too,
before that look is over (structs within structs make it long enough), the process dies of SIGSEGV.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec


def warm_up() -> int:
    """Looks at every struct of the modules that are loaded; returns how many there are.

    To be called while there is one thread; what has been looked at before costs next to nothing.
    """
    count = 0
    for shape in _below(msgspec.Struct):
        # What refers to names that only type checkers import is never decoded.
        with contextlib.suppress(NameError, TypeError):
            msgspec.json.Decoder(shape)
            count += 1
    return count


def _below(base: type) -> Iterator[type]:
    shapes: list[type] = base.__subclasses__()
    for shape in shapes:
        yield shape
        yield from _below(shape)
