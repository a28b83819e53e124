"""The life of an execution: it binds callers, decides once, delivers and closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    AgentExecutionPhase,
    CallbackState,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import errors, executions, limits, payloads, search_attributes, tokens
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import Bind, CallerVerdict, CarriedState
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_orchestrator.delivery.bindings import Bindings
from stigma_orchestrator.delivery.caller_watch import CallerWatch
from stigma_orchestrator.delivery.delivery import Delivery, DeliveryResult, callback_status
from stigma_orchestrator.executions.outcome import Continue, Outcome
from stigma_orchestrator.executions.work import Input, Work

ExecutionT = TypeVar("ExecutionT", AgentExecution, WorkflowExecution)


class ExecutionLifecycle(Generic[ExecutionT]):
    """One execution from its first bound token to its last delivery, whatever its work is."""

    def __init__(
        self,
        work: Work[ExecutionT],
        request: Input,
        execution_type: type[ExecutionT],
        *,
        carried: CarriedState | None = None,
        stop_grace: Callable[[], timedelta] = timedelta,
    ) -> None:
        """Prepare the execution.

        Args:
            work: runs once, and again in later runs of the workflow.
            request: the workflow's input.
            execution_type: the message that describes an execution of this kind.
            carried: the state that earlier runs left.
            stop_grace: returns how long cancelled work may go on after the delivery.
        """
        carried = carried or CarriedState()
        self._work: Work[ExecutionT] = work
        self._request = request
        self._execution_type: type[ExecutionT] = execution_type
        self._execution_id = request.execution_id
        self._request_id = request.spec.request_id
        self._deadline = request.deadline.ToDatetime(UTC)
        self._stop_grace = stop_grace
        self._start_time = Timestamp()
        if carried.HasField("start_time"):
            self._start_time.CopyFrom(carried.start_time)
        else:
            self._start_time.FromDatetime(workflow.info().workflow_start_time)
        self._bindings = Bindings(request.spec_digest, carried.bindings)
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        self._watch = CallerWatch(self._execution_id, self._request_id, self._bindings, queues)
        self._outcome: Outcome | None = None
        self._end_time = Timestamp()
        self._delivery_result: DeliveryResult | None = None

    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity. One that does not belong here is ignored."""
        waiting = self._bindings.newest_by_activity()
        if not self._bindings.add(bind):
            self._warn("bind_ignored", bind)
            return
        for activity in waiting.keys() - self._bindings.newest_by_activity().keys():
            # So many under one request id that the oldest one made room.
            self._warn("activity_let_go", waiting[activity])

    async def run_to_delivery(self) -> bool:
        """Run, decide and deliver; return False when the workflow must continue as new instead."""
        # All goes on in a task of its own, so that a cancel is a fact that the next decision takes
        # into account: success that is already in history wins over a cancel that came with it.
        task = asyncio.create_task(self._run())
        while not task.done():
            # When the worker drops this run from its cache, it cancels the task as well.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(task)
        return task.result()

    def next_input(self) -> Input:
        """Return the input of the run that this one continues as."""
        return self._work.carry(
            CarriedState(start_time=self._start_time, bindings=self._bindings.in_order())
        )

    def result_or_raise(self) -> ExecutionT:
        """Return the completed execution, or raise what closes the run of one that is not.

        Raises:
            ApplicationError: it failed, timed out, or its success is undeliverable.
            CancelledError: it was cancelled.
        """
        execution = self.snapshot()
        completed = AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED
        cancelled = AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        if execution.status.phase == completed:
            if execution.status.callback.state != CallbackState.CALLBACK_STATE_UNDELIVERABLE:
                return execution
            # The answer stays readable, and a late attempt of the caller still gets it.
            execution.status.failure.reason = FailureReason.FAILURE_REASON_UNDELIVERABLE
            execution.status.failure.message = execution.status.callback.message
        name = executions.phase_name(execution)
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(name)])
        if workflow.cancellation_reason() is not None and execution.status.phase == cancelled:
            # Temporal's own "cancelled" carries no details: the memo does, beside the spec.
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
        """The work's phase until the outcome is decided; for either kind."""
        return self._work.phase if self._outcome is None else self._outcome.phase

    def snapshot(self) -> ExecutionT:
        """Return the execution as it stands, without the long parts of its spec."""
        execution = self._execution_type()
        requested, spec, status = self._request.spec, execution.spec, execution.status
        execution.id = self._execution_id
        spec.session_id = requested.session_id
        spec.request_id = requested.request_id
        spec.principal = requested.principal
        spec.labels.update(requested.labels)
        status.phase = self.phase  # type: ignore[assignment] # the same numbers for either kind
        status.start_time.CopyFrom(self._start_time)
        status.deadline.CopyFrom(self._request.deadline)
        if self._outcome is not None:
            status.end_time.CopyFrom(self._end_time)
            if self._outcome.output is not None:
                status.output.CopyFrom(self._outcome.output)  # type: ignore[arg-type]
            if self._outcome.failure is not None:
                status.failure.CopyFrom(self._outcome.failure)
        if self._bindings:
            status.callback.CopyFrom(callback_status(self._bindings, self._delivery_result))
        self._work.describe(execution)
        return execution

    async def _run(self) -> bool:
        work = asyncio.create_task(self._run_work())
        decision = await self._decide(work)
        if isinstance(decision, Continue):
            return False
        self._outcome = decision
        self._end_time.FromDatetime(workflow.now())
        await self._work.settle(decision)
        delivery = Delivery(
            self._bindings,
            self.snapshot(),
            self._request.spec.callback_payload,
            cancel_requesters=decision.cancel_requesters,
        )
        await self._deliver(delivery)
        if not work.done() and (grace := self._stop_grace()):
            await self._await_cancelled_work(work, delivery, grace)
        return True

    async def _run_work(self) -> Outcome | Continue:
        while True:
            result = await self._work.run()
            if isinstance(result, Outcome) or not result.optional or not self._excess_size():
                return result

    async def _decide(self, work: asyncio.Task[Outcome | Continue]) -> Outcome | Continue:
        """Wait for the work, a cancel, the deadline, or the loss of the caller."""
        try:
            while True:
                await self._wait(work)
                result = work.result() if work.done() else None
                if isinstance(result, Outcome):
                    return result
                if (stopped := self._stop_outcome()) is not None:
                    return stopped
                if result is not None:
                    return self._too_large(result) or result
                due = self._watch.due()
                if due is not None and due <= workflow.now():
                    self._watch.start_due(self._deadline)
        finally:
            work.cancel()
            self._watch.stop()

    def _too_large(self, stop: Continue) -> Outcome | None:
        """Fail what could not continue as new: Temporal would terminate it without a reason."""
        size = self._excess_size()
        if not size:
            return None
        message = f"{stop.content} has {size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}"
        failed = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
        return Outcome.of_failure(failed, FailureReason.FAILURE_REASON_TOO_LARGE, message)

    def _excess_size(self) -> int:
        """Return the bytes of the next run's input when they are too many, else 0."""
        return payloads.json_size_if_over(limits.MAX_PAYLOAD_BYTES, self.next_input())

    async def _wait(self, work: asyncio.Task[Outcome | Continue]) -> None:
        """Sleep until there is something to decide."""
        wake = self._deadline
        watching = self._watch.due()
        if watching is not None:
            wake = min(wake, watching)
        version = self._bindings.version
        # Not a timeout of the condition: it would overtake a result that came with it, whereas a
        # condition is evaluated once everything that came together was applied.
        timer = asyncio.create_task(workflow.sleep(max(wake - workflow.now(), timedelta())))
        try:
            await workflow.wait_condition(
                lambda: (
                    work.done()
                    or timer.done()
                    or workflow.cancellation_reason() is not None
                    or self._watch.verdict() is not None
                    or self._bindings.version != version
                )
            )
        finally:
            timer.cancel()

    def _stop_outcome(self) -> Outcome | None:
        cancelled = AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        verdict = self._watch.verdict()
        if (requested := workflow.cancellation_reason()) is not None:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            # Temporal takes a reason of any size; what carries it on does not.
            message = payloads.cut_text(requested, limits.MAX_REASON_BYTES)
            return Outcome.of_failure(cancelled, reason, message or "cancelled")
        if verdict == CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            outcome = Outcome.of_failure(cancelled, reason, "cancelled by its caller")
            return replace(outcome, cancel_requesters=self._watch.cancel_requesters())
        if verdict == CallerVerdict.CALLER_VERDICT_GONE:
            reason = FailureReason.FAILURE_REASON_CALLER_GONE
            return Outcome.of_failure(cancelled, reason, "its caller is gone")
        if workflow.now() >= self._deadline:
            reason = FailureReason.FAILURE_REASON_DEADLINE
            timed_out = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
            return Outcome.of_failure(timed_out, reason, "the deadline passed")
        return None

    async def _deliver(self, delivery: Delivery) -> None:
        if self._bindings:
            self._delivery_result = await delivery.deliver()

    async def _await_cancelled_work(
        self, work: asyncio.Task[Outcome | Continue], delivery: Delivery, stop_grace: timedelta
    ) -> None:
        """Wait until cancelled work has stopped; deliver to activities bound meanwhile."""
        grace = asyncio.create_task(workflow.sleep(stop_grace))

        def over() -> bool:
            return work.done() or grace.done()

        while not over():
            if await self._is_bound_before(over):
                await self._deliver(delivery)
        grace.cancel()

    async def _is_bound_before(self, over: Callable[[], bool]) -> bool:
        """Wait for a bind or for `over`; return whether there was a bind."""
        version = self._bindings.version
        await workflow.wait_condition(lambda: over() or self._bindings.version != version)
        return self._bindings.version != version

    def _warn(self, event: str, bind: Bind) -> None:
        extra = {
            "execution_id": self._execution_id,
            "request_id": self._request_id,
            "callback_fingerprint": tokens.fingerprint(bind.token),
            "token_length": len(bind.token),
        }
        workflow.logger.warning(event, extra=extra)
