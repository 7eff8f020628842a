"""What framework and executor say to each other about a running task, in Mesos's framework messages.

Mesos delivers such a message once or not at all. So the framework asks until it has heard all: a
:class:`Run` is repeated under the same ``call``, and never carried out twice; every :class:`Fetch`
says up to which chunk the output has arrived, and the executor sends what comes after. A
:class:`Reply` that is ``final`` is the last chunk. What nobody fetches for :data:`KEPT_SECS` is
forgotten.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# Bytes of output in one reply; a Mesos message should stay far below a megabyte.
CHUNK = 64 * 1024
# Output beyond this is dropped, and the reply says so.
MOST_OUTPUT = 16 * 1024 * 1024
KEPT_SECS = 300.0


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run ``argv`` beside the task: in its container, or in its sandbox where there is none.

    ``stdin`` is what the command reads, ``timeout`` (seconds) ends it with SIGKILL. ``user`` None: as
    the container has it.
    """

    call: str
    task_id: str
    argv: tuple[str, ...]
    stdin: bytes = b""
    timeout: float = 60.0
    user: str | None = None


class Part(msgspec.Struct, frozen=True, tag="part"):
    """More of a Run's ``stdin``, to stand at ``offset``; the Run follows, with ``stdin`` empty."""

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
    return msgspec.json.encode(message)


def decode(data: bytes) -> Message:
    """Returns the message in ``data``; raises ``ValueError`` for what is none."""
    message: Message = msgspec.json.decode(data, type=Message)
    return message
