"""The turns of a session that have not ended, in order of acceptance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import (
    SESSION_POLICY_INTERRUPT,
    SESSION_POLICY_REJECT,
)
from stigma.contracts import limits
from stigma.contracts.workflows import UpdateRefusal
from stigma.internal.v1.session_pb2 import QueuedTurn, RequestTurn


class TurnQueue:
    """Turns in order; the first one runs, or is about to."""

    def __init__(self, carried: Iterable[QueuedTurn], turns: int) -> None:
        """Go on with those of the run before.

        Args:
            carried: turns that have not ended.
            turns: accepted so far.
        """
        self._queue = [_copy(turn) for turn in carried]
        self.turns = turns
        """Turns accepted so far."""

    def __len__(self) -> int:
        """Return the number of turns that have not ended."""
        return len(self._queue)

    @property
    def first(self) -> QueuedTurn | None:
        """The turn that runs, or is about to; None where there is none."""
        return self._queue[0] if self._queue else None

    def in_order(self) -> list[QueuedTurn]:
        """Return the turns."""
        return list(self._queue)

    def find(self, execution_id: str) -> QueuedTurn | None:
        """Return the turn of an execution, if it has not ended."""
        return next((turn for turn in self._queue if turn.execution_id == execution_id), None)

    def check(self, request: RequestTurn) -> None:
        """Check that a turn may be added.

        Raises:
            ApplicationError: of a type of `UpdateRefusal`.
        """
        if self.find(request.execution_id) is not None:
            return
        if request.policy == SESSION_POLICY_REJECT and self._queue:
            raise refused(UpdateRefusal.SESSION_BUSY, "another execution of the session runs")
        if len(self._queue) > limits.MAX_WAITING_TURNS:
            waiting = len(self._queue) - 1
            message = f"{waiting} executions wait for their turn in the session already"
            raise refused(UpdateRefusal.TOO_MANY_TURNS, message)

    def check_empty(self) -> None:
        """Check that no turn runs or waits.

        Raises:
            ApplicationError: of a type of `UpdateRefusal`.
        """
        if self._queue:
            message = "executions of the session run or wait: let them end, or cancel them first"
            raise refused(UpdateRefusal.SESSION_BUSY, message)

    def add(self, request: RequestTurn, now: datetime) -> QueuedTurn:
        """Add a turn, or return the one that the execution has."""
        if (found := self.find(request.execution_id)) is not None:
            return found
        if request.policy == SESSION_POLICY_INTERRUPT and self._queue:
            self._queue[0].is_interrupted = True
        self.turns += 1
        turn = QueuedTurn(execution_id=request.execution_id, number=self.turns)
        turn.accept_time.FromDatetime(now)
        self._queue.append(turn)
        return turn

    def remove(self, turn: QueuedTurn) -> None:
        """Remove a turn that has ended, or that is gone."""
        self._queue.remove(turn)


def refused(why: UpdateRefusal, message: str) -> ApplicationError:
    """Return the error by which an update is refused."""
    return ApplicationError(message, type=str(why), non_retryable=True)


def _copy(turn: QueuedTurn) -> QueuedTurn:
    copied = QueuedTurn()
    copied.CopyFrom(turn)
    return copied
