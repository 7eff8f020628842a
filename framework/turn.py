"""One turn of the scheduler's thread: what is handled, and so committed, together."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import msgspec

from framework.core.messages import Action, Kill, Write
from framework.core.scheduler import Scheduler
from framework.inbox import CommandItem, EventItem
from framework.model.errors import GatewayError

logger = logging.getLogger(__name__)


class InternalError(Exception):
    """A defect; ``reference`` stands in the log beside its traceback."""

    def __init__(self) -> None:
        self.reference = uuid.uuid4().hex[:12]
        super().__init__(f"internal error {self.reference}")


class Turn:
    """What one turn gathers: writes and actions, and whom to answer what."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.actions: list[Action] = []
        self.broken = False
        self._answers: list[tuple[CommandItem, Any]] = []

    @property
    def must_commit(self) -> bool:
        """Whether storage has to agree before this turn comes to pass.

        A KILL changes nothing durable here, but one who has been deposed must not send it.
        """
        return bool(self.writes) or any(isinstance(action, Kill) for action in self.actions)

    def handle(self, core: Scheduler, item: CommandItem | EventItem, now: float) -> bool:
        """Lets the core handle one item; False if the core cannot be trusted any more."""
        result: Any
        try:
            outcome = core.handle(msgspec.structs.replace(item.event, at=now))
        except GatewayError as error:
            if not isinstance(item, CommandItem):
                logger.warning("the core refuses a %s: %s", type(item.event).__name__, error)
            result = error
        except Exception:
            result = InternalError()
            logger.exception("%s in a %s", result, type(item.event).__name__)
            self.broken = True
        else:
            self.writes.extend(outcome.writes)
            self.actions.extend(outcome.actions)
            result = outcome.result
        if isinstance(item, CommandItem):
            self._answers.append((item, result))
        return not self.broken

    def succeed(self) -> None:
        for item, result in self._answers:
            if isinstance(result, Exception):
                item.fail(result)
            else:
                item.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Nothing of the turn has come to pass. Refusals too may rest on what did not."""
        for item, _ in self._answers:
            item.fail(error)
