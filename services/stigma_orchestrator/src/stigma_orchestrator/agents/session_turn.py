"""The turn of an execution in its session: it waits for it, and hands on what was said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_CANCELLED, Message
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import (
    external_signals,
    limits,
    payloads,
    search_attributes,
    session_conversation,
)
from stigma.contracts.workflows import SessionWorkflow
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma.internal.v1.session_pb2 import TurnBegins, TurnEnded
from stigma_orchestrator.agents.session_window import SessionWindow
from stigma_orchestrator.agents.step import AgentFailedError
from stigma_orchestrator.executions.outcome import Outcome

# A turn that comes at once is never shown as PENDING.
_SHORT_WAIT = timedelta(seconds=1)
# A session that was terminated and made anew learns of the turns that wait.
_ANNOUNCE_INTERVAL = timedelta(minutes=5)
_GONE = "its session was deleted or terminated before its turn: start it again, as another request"


class SessionTurn:
    """The turn of one execution."""

    def __init__(self, request: AgentWorkflowInput, window: SessionWindow) -> None:
        self._execution_id = request.execution_id
        self._session = request.session.workflow_id
        self._context = request.spec.agent.context
        self._window = window
        self._begins: TurnBegins | None = None
        self._ending: tuple[Outcome, TurnEnded] | None = None
        if request.carried.HasField("session"):
            self._begins = request.carried.session
            window.open(self._begins.conversation, request.carried.session_compaction)

    @property
    def has_begun(self) -> bool:
        """Whether the turn has come."""
        return self._begins is not None

    @property
    def number(self) -> int:
        """The turn's number in its session, from 1; 0 until it has come."""
        return self._begins.number if self._begins is not None else 0

    def begin(self, begins: TurnBegins) -> None:
        """Begin; a repetition changes nothing."""
        if self._begins is None:
            self._begins = begins
            self._window.open(begins.conversation)

    async def wait(self, is_stopping: Callable[[], bool]) -> Outcome | None:
        """Wait for the turn; return an outcome where it will never come."""
        interval, is_shown = _SHORT_WAIT, False
        while not self.has_begun and not is_stopping():
            if not await self._arrive():
                reason = FailureReason.FAILURE_REASON_CANCELLED
                return Outcome.of_failure(AGENT_EXECUTION_PHASE_CANCELLED, reason, _GONE)
            try:
                await workflow.wait_condition(
                    lambda: self.has_begun or is_stopping(), timeout=interval
                )
            except TimeoutError:
                if not is_shown:
                    _show_phase("PENDING")
                interval, is_shown = _ANNOUNCE_INTERVAL, True
        if is_shown:
            _show_phase(None)
        return None

    def keep(self, outcome: Outcome, said: Sequence[Message], tokens: int, *, step: str) -> None:
        """Keep what the turn adds to the conversation, if this is its outcome.

        Args:
            outcome: of a turn that has completed, or was stopped after a step.
            said: in the turn.
            tokens: of its last model call.
            step: its last step.

        Raises:
            AgentFailedError: the conversation is too large to be carried.
        """
        ended = self._ended()
        self._ending = (outcome, ended)
        if self._begins is None:
            return
        ended.tokens = tokens
        conversation = self._begins.conversation
        turn = session_conversation.new_turn(self._execution_id, said)
        kept = session_conversation.with_turn(
            conversation, turn, self._window.compaction, self._context
        )
        if kept is None:
            size = session_conversation.size(conversation) + turn.json_bytes
            raise AgentFailedError(
                FailureReason.FAILURE_REASON_TOO_LARGE,
                f"the conversation of the session has {size} bytes with this turn, the limit is "
                f"{limits.MAX_SESSION_BYTES}: begin another session, or let agents drop old turns",
                step=step,
            )
        # Without it where the turn alone is too large.
        ended.is_dropped = not kept.turns
        if kept.turns:
            ended.messages.extend(kept.turns[-1].messages)

    async def end(self, outcome: Outcome) -> None:
        """Give up the place, and hand on what was said in a turn that adds to the conversation."""
        ended = self._ended()
        if self._ending is not None and self._ending[0] is outcome:
            ended = self._ending[1]
        session = self._handle()
        if not await _is_sent(session.signal(SessionWorkflow.turn_ended, ended)):
            workflow.logger.info("session_gone", extra={"execution_id": self._execution_id})

    def carry(self, following: AgentWorkflowInput) -> None:
        """Add what was said before to the next run's input, as much as there is room for."""
        if self._begins is None:
            return
        room = limits.MAX_PAYLOAD_BYTES - payloads.json_size(following)
        carried = following.carried
        carried.session.CopyFrom(self._begins)
        carried.session_compaction.CopyFrom(self._window.fitting(room))
        for turn in carried.session.conversation.turns[: carried.session_compaction.dropped_turns]:
            turn.ClearField("messages")

    def _ended(self) -> TurnEnded:
        return TurnEnded(
            execution_id=self._execution_id,
            context=self._context,
            compaction=self._window.compaction,
        )

    def _handle(self) -> workflow.ExternalWorkflowHandle[SessionWorkflow]:
        return workflow.get_external_workflow_handle_for(SessionWorkflow.run, self._session)

    async def _arrive(self) -> bool:
        """Tell the session that the turn waits; return False where the session is gone."""
        session = self._handle()
        return await _is_sent(session.signal(SessionWorkflow.turn_arrives, self._execution_id))


async def _is_sent(signal: Coroutine[Any, Any, None]) -> bool:
    """Send a signal; return False where whom it is for is gone."""
    try:
        await external_signals.send(signal)
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        return False
    return True


def _show_phase(phase: str | None) -> None:
    """Show a phase that Temporal's status does not tell."""
    key = search_attributes.PHASE
    workflow.upsert_search_attributes(
        [key.value_unset() if phase is None else key.value_set(phase)]
    )
