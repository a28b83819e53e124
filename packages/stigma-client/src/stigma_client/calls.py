"""The workflow's side of a call: waiting for the outcome, and stopping what nobody awaits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts import limits, payloads
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_client.errors import ExecutionError, broken, of_activity, refusal
from stigma_client.events import log_in_workflow

# Every attempt has a token of its own and starts are idempotent: retrying is safe, and not
# retrying would turn each deployment of the caller's workers into failed calls.
_CALL_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)

_CANCEL_TIMEOUT = timedelta(seconds=30)
_CANCEL_ATTEMPT_TIMEOUT = timedelta(seconds=16)
_CANCEL_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=5)
)

# Turns of the event loop within which an outcome that came together with a cancellation shows.
_SETTLING_TURNS = 10

E = TypeVar("E", AgentExecution, WorkflowExecution)


@dataclass(frozen=True)
class Call(Generic[E]):
    """One call of an agent or of a Stigma workflow, from a workflow.

    Attributes:
        kind: which of the two.
        execution_type: the message that it is completed with.
        start: the activity that takes the request, starts the execution and stays pending.
        cancel: the activity that stops it.
        cancel_request: what `cancel` takes.
        request_id: idempotency key.
        unique: differs between all calls of a run; the activity's id is made of it.
        summary: what people see of the activity.
    """

    kind: Kind
    execution_type: type[E]
    start: Callable[..., Any]
    cancel: Callable[..., Any]
    cancel_request: Message
    request_id: str
    unique: str
    summary: str

    async def outcome(
        self, request: Message, *, timeout: timedelta, heartbeat_timeout: timedelta
    ) -> E:
        """Make the call, and wait for the execution that it comes to.

        Raises:
            ExecutionError: of this kind: it did not complete.
            asyncio.CancelledError: the awaiting task was cancelled; so is the execution.
        """
        bound = self._bound(timeout, heartbeat_timeout)
        call: workflow.ActivityHandle[RawValue] = workflow.start_activity_method(
            self.start,
            payloads.to_raw(request),
            # Temporal's own ids are unique in a run only as long as nobody sets one.
            activity_id=f"{self.kind}-{self.unique}",
            schedule_to_close_timeout=bound,
            start_to_close_timeout=bound,
            heartbeat_timeout=heartbeat_timeout,
            retry_policy=_CALL_RETRIES,
            summary=self.summary,
        )
        try:
            await workflow.wait([call])
        except asyncio.CancelledError:
            await self._stop(call)
            raise
        return self._result(call)

    def _bound(self, timeout: timedelta, heartbeat_timeout: timedelta) -> timedelta:
        if timeout <= timedelta() or heartbeat_timeout <= timedelta():
            raise refusal(
                self.kind, "timeout and heartbeat_timeout must be positive", "INVALID_ARGUMENT"
            )
        # The API takes a margin off again, at most half of the whole: what is left is `timeout`.
        return timeout + min(timeout, limits.CALLBACK_MARGIN)

    def _result(self, call: workflow.ActivityHandle[RawValue]) -> E:
        try:
            execution = payloads.from_raw(call.result(), self.execution_type)
        except ActivityError as error:
            failure = of_activity(error, self.kind)
            self._log_failure(failure)
            # `from None`: a cause would carry the execution once more, perhaps over the size limit.
            raise failure from None
        except ValueError as error:
            raise broken(
                self.kind, f"the activity was completed with something else: {error}"
            ) from None
        log_in_workflow("resumed", request_id=self.request_id, execution_id=execution.id)
        return execution

    def _log_failure(self, failure: ExecutionError) -> None:
        log_in_workflow(
            "resumed",
            request_id=self.request_id,
            execution_id=failure.execution_id,
            error=failure.type,
        )

    async def _stop(self, call: workflow.ActivityHandle[RawValue]) -> None:
        """Cancel the activity and the execution, whatever further cancellations arrive meanwhile.

        Cancelling the activity alone would not do: no code of it runs any more.
        """
        if await _settled(call):
            return
        call.cancel()
        stop: workflow.ActivityHandle[None] = workflow.start_activity_method(
            self.cancel,
            payloads.to_raw(self.cancel_request),
            schedule_to_close_timeout=_CANCEL_TIMEOUT,
            start_to_close_timeout=_CANCEL_ATTEMPT_TIMEOUT,
            retry_policy=_CANCEL_RETRIES,
        )
        while not stop.done():
            try:
                await workflow.wait([stop])
            except asyncio.CancelledError:
                continue  # already cancelling; what we wait for is bounded
        _forget(call)
        if not stop.cancelled() and stop.exception() is not None:
            # The execution's own watch over its caller stops it later.
            log_in_workflow(
                "cancel_failed",
                level=logging.WARNING,
                request_id=self.request_id,
                reason=_reason_of(stop.exception()),
            )


def _reason_of(error: BaseException | None) -> str:
    """Return what the API answered, or how the activity ended without an answer."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if not isinstance(cause, ApplicationError):
        return type(cause).__name__
    detail = cause.details[0] if cause.details else None
    # A refusal has the status code in its detail; trouble that passes, as its type.
    reason = detail.get("reason") if isinstance(detail, Mapping) else None
    return str(reason or cause.type)


async def _settled(call: workflow.ActivityHandle[RawValue]) -> bool:
    """Whether the outcome came in the same activation as the cancellation: nothing to stop."""
    for _ in range(_SETTLING_TURNS):
        if call.done():
            _forget(call)
            return True
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue
    return False


def _forget(call: workflow.ActivityHandle[RawValue]) -> None:
    """Take note of an outcome nobody awaits, or asyncio would complain of it."""
    if call.done() and not call.cancelled():
        call.exception()
