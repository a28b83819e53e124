"""What every execution does around its work: it binds callers, decides once, delivers, closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Generic, TypeAlias, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    AgentExecutionPhase,
    AgentOutput,
    CallbackState,
    CallbackStatus,
    Failure,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import errors, executions, limits, payloads, search_attributes, tokens
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    CallerVerdict,
    WorkflowExecutionInput,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution, WorkflowOutput
from stigma_orchestrator.delivery.bindings import Bindings
from stigma_orchestrator.delivery.caller_watch import CallerWatch
from stigma_orchestrator.delivery.delivery import Delivered, Delivery

ExecutionT = TypeVar("ExecutionT", AgentExecution, WorkflowExecution)
OutputT = TypeVar("OutputT", AgentOutput, WorkflowOutput)

Request: TypeAlias = AgentWorkflowInput | WorkflowExecutionInput


@dataclass(frozen=True)
class Outcome(Generic[OutputT]):
    """What an execution came to. Once decided, neither a cancel nor a deadline changes it."""

    phase: AgentExecutionPhase.ValueType
    """For either kind: the numbers are the same."""
    output: OutputT | None = None
    failure: Failure | None = None
    asking: frozenset[str] = frozenset()
    """Activities that asked for their cancellation and wait for the answer."""


class Handshake(Generic[ExecutionT, OutputT]):
    """One execution from its first bound token to its last delivery, whatever its work is."""

    def __init__(
        self,
        request: Request,
        snapshot: Callable[[], ExecutionT],
        *,
        start_time: Timestamp,
        bindings: Iterable[Bind] = (),
        patience: timedelta = timedelta(),
    ) -> None:
        """Take in what is known at the start.

        Args:
            request: what the workflow was started with.
            snapshot: the execution as it stands, without what was asked for at length.
            start_time: when the first run started.
            bindings: those of earlier runs.
            patience: how long to wait for work that was told to stop; once the caller is told.
        """
        self._execution_id = request.execution_id
        self._request_id = request.spec.request_id
        self._request = request
        self._snapshot: Callable[[], ExecutionT] = snapshot
        self._start_time = start_time
        self._deadline = request.deadline.ToDatetime(UTC)
        self._patience = patience
        self.bindings = Bindings(request.spec_digest, bindings)
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        self._watch = CallerWatch(self._execution_id, self._request_id, self.bindings, queues)
        self._outcome: Outcome[OutputT] | None = None
        self._end_time = Timestamp()
        self._delivered: Delivered | None = None

    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity. One that does not belong here is ignored."""
        waited = self.bindings.by_activity()
        if not self.bindings.add(bind):
            self._warn("bind_ignored", bind)
            return
        for activity in waited.keys() - self.bindings.by_activity().keys():
            # So many under one request id that the one that asked longest ago made room.
            self._warn("activity_let_go", waited[activity])

    async def see_through(
        self,
        work: Coroutine[None, None, Outcome[OutputT] | None],
        *,
        otherwise: Callable[[], Outcome[OutputT] | None] = lambda: None,
    ) -> bool:
        """Decide and deliver; return False when the workflow should continue as new instead.

        Args:
            work: returns what it came to, or None when it stopped to go on in another run.
            otherwise: what the execution came to when it cannot go on in another run.
        """
        # All goes on in a task of its own, so that a cancel is a fact it looks at when it next
        # decides: success that is already in history wins over a cancel that came with it.
        course = asyncio.create_task(self._go(work, otherwise))
        while not course.done():
            # When the worker drops this run from its cache, it cancels the task as well.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(course)
        return course.result()

    def close(self) -> ExecutionT:
        """Return the completed execution, or end the run as what it came to."""
        execution = self._snapshot()
        completed = AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED
        cancelled = AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        if execution.status.phase == completed:
            if not self._is_undeliverable():
                return execution
            # The answer stays readable, and a late attempt of the caller still gets it.
            execution.status.failure.reason = FailureReason.FAILURE_REASON_UNDELIVERABLE
            execution.status.failure.message = execution.status.callback.message
        name = executions.phase_name(execution)
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(name)])
        if workflow.cancellation_reason() is not None and execution.status.phase == cancelled:
            # Temporal's own "cancelled" carries no details: the memo does, beside what was asked.
            remembered: ExecutionT = workflow.memo_value(
                "execution", execution, type_hint=type(execution)
            )
            remembered.status.CopyFrom(execution.status)
            workflow.upsert_memo({"execution": remembered})
            raise asyncio.CancelledError
        raise ApplicationError(
            errors.failure_message(execution),
            RawValue(payloads.json_payload(errors.failure_details(execution))),
            type=errors.ErrorType.of(execution),
            non_retryable=True,
        )

    @property
    def phase(self) -> AgentExecutionPhase.ValueType:
        """Where the execution is in its life; for either kind."""
        if self._outcome is None:
            return AgentExecutionPhase.AGENT_EXECUTION_PHASE_RUNNING
        return self._outcome.phase

    def describe(self, execution: ExecutionT) -> None:
        """Write what is known into an execution: all but its phase and what is its kind's own."""
        asked, spec = self._request.spec, execution.spec
        execution.id = self._execution_id
        spec.session_id = asked.session_id
        spec.request_id = asked.request_id
        spec.principal = asked.principal
        spec.labels.update(asked.labels)
        status = execution.status
        status.start_time.CopyFrom(self._start_time)
        status.deadline.CopyFrom(self._request.deadline)
        if self._outcome is not None:
            status.end_time.CopyFrom(self._end_time)
            if self._outcome.output is not None:
                status.output.CopyFrom(self._outcome.output)  # type: ignore[arg-type]
            if self._outcome.failure is not None:
                status.failure.CopyFrom(self._outcome.failure)
        if self.bindings:
            status.callback.CopyFrom(self._callback())

    async def _go(
        self,
        work: Coroutine[None, None, Outcome[OutputT] | None],
        otherwise: Callable[[], Outcome[OutputT] | None],
    ) -> bool:
        task = asyncio.create_task(work)
        self._outcome = await self._decide(task, otherwise)
        if self._outcome is None:
            return False
        self._end_time.FromDatetime(workflow.now())
        delivery = Delivery(
            self.bindings,
            self._snapshot(),
            self._request.spec.callback_payload,
            asking=self._outcome.asking,
        )
        await self._deliver(delivery)
        if self._patience and not task.done():
            await self._wait_for_the_stop(task, delivery)
        return True

    async def _decide(
        self,
        work: asyncio.Task[Outcome[OutputT] | None],
        otherwise: Callable[[], Outcome[OutputT] | None],
    ) -> Outcome[OutputT] | None:
        """Wait for the work, a cancel, the deadline, or the loss of the caller."""
        try:
            while True:
                await self._wait(work)
                if work.done() and (answered := work.result()) is not None:
                    return answered
                if (stopped := self._stopped()) is not None:
                    return stopped
                if work.done():
                    return otherwise()
                due = self._watch.due()
                if due is not None and due <= workflow.now():
                    self._watch.start(self._deadline)
        finally:
            work.cancel()
            self._watch.stop()

    async def _wait(self, work: asyncio.Task[Outcome[OutputT] | None]) -> None:
        """Sleep until there is something to decide."""
        wake = self._deadline
        watching = self._watch.due()
        if watching is not None:
            wake = min(wake, watching)
        revision = self.bindings.revision
        # Not a timeout of the condition: it would overtake an answer that came with it, whereas
        # a condition is looked at once everything that came together was taken in.
        timer = asyncio.create_task(workflow.sleep(max(wake - workflow.now(), timedelta())))
        try:
            await workflow.wait_condition(
                lambda: (
                    work.done()
                    or timer.done()
                    or workflow.cancellation_reason() is not None
                    or self._watch.verdict() is not None
                    or self.bindings.revision != revision
                )
            )
        finally:
            timer.cancel()

    def _stopped(self) -> Outcome[OutputT] | None:
        cancelled = AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        verdict = self._watch.verdict()
        if (asked := workflow.cancellation_reason()) is not None:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            # Temporal takes a reason of any size; what carries it on does not.
            message = asked.encode()[: limits.MAX_REASON_BYTES].decode(errors="ignore")
            failure = Failure(reason=reason, message=message or "cancelled")
            return Outcome(cancelled, failure=failure)
        if verdict == CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            failure = Failure(reason=reason, message="cancelled by its caller")
            return Outcome(cancelled, failure=failure, asking=self._watch.asking())
        if verdict == CallerVerdict.CALLER_VERDICT_GONE:
            reason = FailureReason.FAILURE_REASON_CALLER_GONE
            return Outcome(cancelled, failure=Failure(reason=reason, message="its caller is gone"))
        if workflow.now() >= self._deadline:
            reason = FailureReason.FAILURE_REASON_DEADLINE
            failure = Failure(reason=reason, message="the deadline passed")
            timed_out = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
            return Outcome(timed_out, failure=failure)
        return None

    async def _deliver(self, delivery: Delivery) -> None:
        if self.bindings:
            self._delivered = await delivery.deliver()

    async def _wait_for_the_stop(
        self, work: asyncio.Task[Outcome[OutputT] | None], delivery: Delivery
    ) -> None:
        """Wait for work that was told to stop. Who is bound meanwhile is told as well."""
        patience = asyncio.create_task(workflow.sleep(self._patience))

        def over() -> bool:
            return work.done() or patience.done()

        while not over():
            if await self._is_bound_before(over):
                await self._deliver(delivery)
        patience.cancel()

    async def _is_bound_before(self, over: Callable[[], bool]) -> bool:
        """Wait until somebody is bound, or until this is so; return whether somebody was bound."""
        revision = self.bindings.revision
        await workflow.wait_condition(lambda: over() or self.bindings.revision != revision)
        return self.bindings.revision != revision

    def _callback(self) -> CallbackStatus:
        newest = self.bindings.newest
        return CallbackStatus(
            state=self._delivered.state
            if self._delivered
            else CallbackState.CALLBACK_STATE_WAITING,
            message=self._delivered.message if self._delivered else "",
            fingerprint=tokens.fingerprint(newest.token) if newest else "",
            bindings=len(self.bindings),
        )

    def _is_undeliverable(self) -> bool:
        return (
            self._delivered is not None
            and self._delivered.state == CallbackState.CALLBACK_STATE_UNDELIVERABLE
        )

    def _warn(self, event: str, bind: Bind) -> None:
        extra = {
            "execution_id": self._execution_id,
            "request_id": self._request_id,
            "callback_fingerprint": tokens.fingerprint(bind.token),
            "token_length": len(bind.token),
        }
        workflow.logger.warning(event, extra=extra)
