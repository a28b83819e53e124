"""`SessionWorkflow`: one session, from its first turn until it is deleted or forgotten."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.agent.v1.agent_session_pb2 import AgentSession
    from stigma.contracts import (
        conversation,
        external_signals,
        limits,
        session_conversation,
        versions,
        workflows,
    )
    from stigma.contracts.task_queues import TaskQueues
    from stigma.contracts.workflows import AgentWorkflow, UpdateRefusal
    from stigma.internal.v1.session_pb2 import (
        QueuedTurn,
        RequestTurn,
        SessionConversation,
        SessionWorkflowInput,
        TurnAccepted,
        TurnBegins,
        TurnEnded,
    )
    from stigma_orchestrator.sessions.turn_queue import TurnQueue, refused
    from stigma_orchestrator.sessions.turn_watch import TurnWatch


@workflow.defn(name="SessionWorkflow")
class SessionWorkflow(workflows.SessionWorkflow):
    """Hands out the turns of a session, one at a time, in order of acceptance."""

    @workflow.init
    def __init__(self, request: SessionWorkflowInput) -> None:
        self._state = request
        self._queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        self._queue = TurnQueue(request.queue, request.turns)
        self._conversation = request.conversation
        self._accepted_here = 0
        self._is_deleted = False
        if not request.HasField("update_time"):
            self._note_use()

    @override
    @workflow.update(name="request_turn")
    def request_turn(  # type: ignore[override] # an update of this class
        self, request: RequestTurn
    ) -> TurnAccepted:
        self._accepted_here += 1
        self._state.idle_timeout.CopyFrom(request.idle_timeout)
        self._note_use()
        return TurnAccepted(number=self._queue.add(request, workflow.now()).number)

    @request_turn.validator
    def _check_request(self, request: RequestTurn) -> None:
        if self._is_deleted:
            raise refused(UpdateRefusal.SESSION_ENDED, "the session has just ended")
        self._queue.check(request)

    @override
    @workflow.update(name="delete_session")
    def delete_session(self) -> None:  # type: ignore[override] # an update of this class
        self._is_deleted = True

    @delete_session.validator
    def _check_delete(self) -> None:
        self._queue.check_empty()

    @override
    @workflow.signal(name="turn_arrives")
    def turn_arrives(self, execution_id: str) -> None:
        # One without a place came too late for it: it gets the last one.
        self._accepted_here += 1
        request = RequestTurn(execution_id=execution_id)
        self._queue.add(request, workflow.now()).has_arrived = True

    @override
    @workflow.signal(name="turn_ended")
    def turn_ended(self, ended: TurnEnded) -> None:
        turn = self._queue.find(ended.execution_id)
        if turn is None:
            return
        self._queue.remove(turn)
        self._note_use()
        if turn.has_begun and (ended.messages or ended.is_dropped):
            self._conversation = _after(self._conversation, ended)

    @override
    @workflow.query(name="session")
    def session(self, with_messages: bool = False) -> AgentSession:
        shown = self._brief()
        turns = self._queue.in_order()
        if turns:
            shown.running = turns[0].execution_id
            shown.waiting.extend(turn.execution_id for turn in turns[1:])
        else:
            shown.expire_time.FromDatetime(self._expire_time())
        if with_messages:
            said = list(session_conversation.messages(self._conversation))
            room = limits.MAX_VIEW_BYTES - shown.ByteSize()
            shown.messages.extend(conversation.fit_view(said, room))
        return shown

    @override
    @workflow.run
    async def run(self, request: SessionWorkflowInput) -> None:
        while not self._is_deleted and not self._must_continue():
            turn = self._queue.first
            if turn is not None:
                await self._serve(turn)
                workflow.upsert_memo({workflows.SESSION_MEMO: self._brief()})
            elif not await self._is_used_again():
                return
        if not self._is_deleted:
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(
                self._next_input(),
                initial_versioning_behavior=versions.continue_as_new_behavior(),
            )

    async def _is_used_again(self) -> bool:
        """Wait for a turn; return False when the session was not used for too long."""
        left = self._expire_time() - workflow.now()
        if left <= timedelta():
            return False
        if versions.is_versioned():
            left = min(left, versions.VERSION_CHECK_INTERVAL)
        # Whether all of the time is over, or a part of it, is seen above.
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: len(self._queue) > 0 or self._is_deleted or self._must_continue(),
                timeout=left,
            )
        return True

    async def _serve(self, turn: QueuedTurn) -> None:
        """See a turn to its end, or until the run has to continue as new."""
        watch = TurnWatch(turn, self._queues)
        try:
            while self._queue.first is turn and not self._must_continue():
                if watch.is_gone:
                    self._queue.remove(turn)
                elif turn.has_arrived and not turn.has_begun:
                    await self._begin(turn)
                elif turn.has_begun and turn.is_interrupted and not turn.is_told_of_interrupt:
                    await self._interrupt(turn)
                else:
                    await workflow.wait_condition(lambda: watch.is_gone or self._has_news(turn))
        finally:
            watch.stop()

    def _has_news(self, turn: QueuedTurn) -> bool:
        return (
            self._queue.first is not turn
            or (turn.has_arrived and not turn.has_begun)
            or (turn.has_begun and turn.is_interrupted and not turn.is_told_of_interrupt)
            or self._must_continue()
        )

    async def _begin(self, turn: QueuedTurn) -> None:
        turn.has_begun = True
        begins = TurnBegins(conversation=self._conversation, number=turn.number)
        handle = _execution(turn)
        try:
            await external_signals.send(handle.signal(AgentWorkflow.turn_begins, begins))
        except FailureError as error:
            self._give_up(turn, error)

    async def _interrupt(self, turn: QueuedTurn) -> None:
        turn.is_told_of_interrupt = True
        try:
            await external_signals.send(_execution(turn).signal(AgentWorkflow.interrupt))
        except FailureError as error:
            self._give_up(turn, error)

    def _give_up(self, turn: QueuedTurn, error: FailureError) -> None:
        """Give up the place of a turn whose workflow is gone."""
        if is_cancelled_exception(error):
            raise error
        if self._queue.first is turn:
            self._queue.remove(turn)

    def _must_continue(self) -> bool:
        return (
            workflow.info().is_continue_as_new_suggested()
            or self._accepted_here >= limits.MAX_RUN_UPDATES
            or versions.target_changed()
        )

    def _next_input(self) -> SessionWorkflowInput:
        following = SessionWorkflowInput()
        following.CopyFrom(self._state)
        following.conversation.CopyFrom(self._conversation)
        following.turns = self._queue.turns
        following.ClearField("queue")
        following.queue.extend(self._queue.in_order())
        return following

    def _brief(self) -> AgentSession:
        """Return the session as lists show it."""
        state = self._state
        return AgentSession(
            id=state.session_id,
            principal=state.principal,
            create_time=state.create_time,
            update_time=state.update_time,
            turns=self._queue.turns,
            conversation_bytes=session_conversation.size(self._conversation),
            dropped_turns=self._conversation.dropped_turns,
        )

    def _note_use(self) -> None:
        self._state.update_time.CopyFrom(_timestamp(workflow.now()))
        if not self._state.HasField("create_time"):
            self._state.create_time.CopyFrom(self._state.update_time)

    def _expire_time(self) -> datetime:
        last_use: datetime = self._state.update_time.ToDatetime(UTC)
        return last_use + self._state.idle_timeout.ToTimedelta()


def _after(before: SessionConversation, ended: TurnEnded) -> SessionConversation:
    """Return the conversation after a turn that adds to it."""
    kept = None
    if not ended.is_dropped:
        turn = session_conversation.new_turn(ended.execution_id, ended.messages)
        kept = session_conversation.with_turn(before, turn, ended.compaction, ended.context)
    if kept is None:
        dropped = before.dropped_turns + len(before.turns) + 1
        kept = SessionConversation(dropped_turns=dropped)
    kept.tokens = ended.tokens
    return kept


def _execution(turn: QueuedTurn) -> workflow.ExternalWorkflowHandle[AgentWorkflow]:
    return workflow.get_external_workflow_handle_for(AgentWorkflow.run, turn.execution_id)


def _timestamp(time: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(time)
    return found
