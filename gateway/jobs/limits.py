"""How much one configuration may cost, and the account that is kept while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from gateway.jobs.faults import Fault


class Limits(msgspec.Struct, frozen=True):
    """The bounds within which a configuration is read.

    ``source_bytes`` of the body; ``steps`` evaluated expressions and loop turns; ``text_chars`` of
    one string; ``total_chars`` of all strings and list items that are ever made; ``depth`` of nested
    expressions and calls; ``nodes`` of the values that all jobs hold; ``document_bytes`` of one job's
    ``executor_data``; ``seconds`` and ``memory_bytes`` are what a worker gets for one reading.
    """

    source_bytes: int = 256 * 1024
    steps: int = 300_000
    text_chars: int = 1024 * 1024
    total_chars: int = 32 * 1024 * 1024
    depth: int = 100
    nodes: int = 200_000
    jobs: int = 1000
    instances: int = 10_000
    document_bytes: int = 1024 * 1024
    seconds: float = 5.0
    memory_bytes: int = 512 * 1024 * 1024


class Budget:
    """What is left of the limits. Every charge raises :class:`Fault` once a limit is passed."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = limits.steps
        self.chars = limits.total_chars
        self.depth = 0

    def step(self, count: int = 1) -> None:
        """Charges ``count`` evaluated expressions, loop turns or visited values."""
        self.steps -= count
        if self.steps < 0:
            raise Fault(
                f"the configuration takes more than {self.limits.steps} steps to evaluate; "
                "is there a loop that grows, or a list that is far too long?"
            )

    def text(self, length: int) -> None:
        """Charges a string of ``length`` characters that is about to be made."""
        if length > self.limits.text_chars:
            raise Fault(
                f"a text of {length} characters would be made here; "
                f"at most {self.limits.text_chars} are allowed"
            )
        self.allocate(length)

    def items(self, count: int) -> None:
        """Charges a list, tuple or dict of ``count`` items that is about to be made."""
        self.step(count // 8)
        self.allocate(count * 16)

    def allocate(self, size: int) -> None:
        self.chars -= size
        if self.chars < 0:
            raise Fault(
                "the configuration makes too much text: all the strings and lists it makes may have "
                f"{self.limits.total_chars} characters together"
            )

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Enters one more level of nesting."""
        self.enter()
        try:
            yield
        finally:
            self.depth -= 1

    def enter(self) -> None:
        """Counts one more level of nesting; the caller takes it off ``depth`` again."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise Fault(
                f"more than {self.limits.depth} levels of nesting (expressions within expressions, "
                "functions that call functions); is there a function that calls itself?"
            )


_current: ContextVar[Budget] = ContextVar("budget")


def current_budget() -> Budget:
    """Returns the account of the reading that is under way; a fresh one outside of any."""
    try:
        return _current.get()
    except LookupError:
        return Budget(Limits())


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Makes ``budget`` the one that template expansion is charged to."""
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)
