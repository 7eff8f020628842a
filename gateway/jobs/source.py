"""The text of a configuration: decoding, parsing, and places for people."""

from __future__ import annotations

import ast
import re
import warnings
from functools import cached_property

from framework.model.errors import Invalid, TooLarge
from gateway.jobs.faults import Fault, Position, printable
from gateway.jobs.limits import Limits

_OLD_PRINT = re.compile(r"print\b")


def decode(body: bytes, limits: Limits) -> str:
    """Returns a request's body as text.

    Raises :class:`TooLarge` above the limit, :class:`Invalid` for what is not plain UTF-8: a byte-order
    mark, UTF-16, broken sequences, NUL.
    """
    if len(body) > limits.source_bytes:
        raise TooLarge(
            f"the configuration has {len(body)} bytes, at most {limits.source_bytes} are accepted"
        )
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Invalid("the configuration is UTF-16; send it as UTF-8")
    if body.startswith(b"\xef\xbb\xbf"):
        raise Invalid("the configuration begins with a byte-order mark; save it as UTF-8 without one")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        where = _position(body[: error.start].decode("utf-8", "replace"))
        raise Invalid(f"{where}: the byte 0x{body[error.start]:02x} is not UTF-8") from None
    if "\0" in text:
        where = _position(text[: text.index("\0")])
        raise Invalid(f"{where}: a NUL character cannot be part of a configuration")
    return text


def _position(before: str) -> Position:
    lines = re.split(r"\r\n|\r|\n", before)
    return Position(len(lines), len(lines[-1]) + 1)


class Source:
    """A text in the job language."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        """The lines as Python's parser counts them."""
        return re.split(r"\r\n|\r|\n", self.text)

    def parse(self) -> ast.Module:
        """Returns the syntax tree; raises :class:`Fault` for what is not Python's syntax."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # '\d' in a command is usual, and harmless
                return ast.parse(self.text)
        except SyntaxError as error:
            position = Position(error.lineno or 1, max(1, error.offset or 1))
            raise Fault(self._explain(error, position.line), position) from None
        except (RecursionError, MemoryError):
            raise Fault("the text is nested too deeply to be read") from None
        except ValueError as error:
            raise Fault(f"the text cannot be read: {error}") from None

    def _explain(self, error: SyntaxError, line: int) -> str:
        words = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        if _OLD_PRINT.match(words.strip()) and "(" not in words.strip()[:7]:
            return (
                "print is a function: write print(…), or remove the line, since nothing is printed here"
            )
        return f"this is not valid syntax: {printable(error.msg)}"

    def position(self, node: ast.AST) -> Position:
        """Returns where ``node`` begins; the tree counts columns in UTF-8 bytes, people do not."""
        line = getattr(node, "lineno", 1)
        before = self.lines[line - 1].encode("utf-8", "replace")[: getattr(node, "col_offset", 0)]
        return Position(line, len(before.decode("utf-8", "replace")) + 1)

    def find(self, words: str) -> Position | None:
        """Returns where ``words`` first stand in the text."""
        index = self.text.find(words)
        return None if index < 0 else _position(self.text[:index])
