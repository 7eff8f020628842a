"""Shapes that are read from JSON by several threads."""

from __future__ import annotations

import msgspec


def known(*shapes: type) -> None:
    """Has msgspec look at shapes, at a time when there is one thread: when a module is imported.

    What it finds out it keeps with the class, and does so in steps: a second thread that reads the first
    value of a shape while another one does takes what is half there, and the process ends with SIGSEGV
    (seen with msgspec 0.22).
    """
    for shape in shapes:
        msgspec.json.Decoder(shape)
