"""What framework and executor say to each other about a running task, in Mesos's framework messages.

Mesos delivers such a message once or not at all. So the framework asks until it has heard all: a
:class:`Run`, with its :class:`Part` messages if it has any, is repeated under the same ``call`` until
an answer comes, and never carried out twice. Chunk 0, which is empty, says that the command is taken
up. The executor sends chunks as they come, at most :data:`WINDOW` beyond what was fetched; every
:class:`Fetch` says from which chunk on they are (still) wanted, and frees those before. A
:class:`Reply` that is ``final`` is the last chunk. What nobody asks for within :data:`KEPT_SECS` is
ended and forgotten.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# Bytes of output in one reply; a Mesos message should stay far below a megabyte.
CHUNK = 64 * 1024
# Chunks that are sent without being asked for again.
WINDOW = 16
# A command's ``stdin`` may have as many bytes.
MOST_INPUT = 16 * 1024 * 1024
# Output beyond this is dropped, and the reply says so.
MOST_OUTPUT = 16 * 1024 * 1024
KEPT_SECS = 300.0


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run ``argv`` beside the task: in its container, or in its sandbox where there is none.

    ``stdin`` is what the command reads, ``timeout`` (seconds) ends it with SIGKILL. ``user`` None: as
    the container has it. ``parts``: how many bytes of ``stdin`` have been sent as Parts before; a Run of
    which some are missing is not answered, so that all of it is sent again.
    """

    call: str
    task_id: str
    argv: tuple[str, ...]
    stdin: bytes = b""
    timeout: float = 60.0
    user: str | None = None
    parts: int = 0


class Part(msgspec.Struct, frozen=True, tag="part"):
    """More of a Run's ``stdin``, to stand at ``offset``; the Run follows, with ``stdin`` empty and the
    number of all these bytes in ``parts``."""

    call: str
    offset: int
    data: bytes


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Send the chunks of ``call`` from number ``after`` on."""

    call: str
    after: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """End the command; nobody waits for it any more."""

    call: str


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """Chunk ``number`` (from 0) of what ``call`` has put out.

    The final one has the exit ``code`` (None: it did not end by itself) and, if it was not run or not
    to its end, ``problem``: a sentence.
    """

    call: str
    number: int
    stream: Literal["stdout", "stderr"] = "stdout"
    data: bytes = b""
    final: bool = False
    code: int | None = None
    problem: str = ""


Message = Run | Part | Fetch | Cancel | Reply


def encode(message: Message) -> bytes:
    """Returns the bytes of a message; :func:`decode` reads them."""
    return msgspec.json.encode(message)


def decode(data: bytes) -> Message:
    """Returns the message in ``data``; raises ``ValueError`` for what is none."""
    message: Message = msgspec.json.decode(data, type=Message)
    return message
