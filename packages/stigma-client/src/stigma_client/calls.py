"""Calls from a workflow: waiting for the outcome, and cancelling what nothing awaits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from stigma.contracts import limits, payloads
from stigma.contracts.errors import detail_of
from stigma_client.errors import from_activity_error, not_started, unexpected_result
from stigma_client.events import log_in_workflow
from stigma_client.kinds import E, ExecutionKind, R

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

_CANCEL_REASON = "the calling workflow was cancelled"

# Turns of the event loop within which an outcome that came together with a cancellation shows.
_COMPLETION_TURNS = 10


@dataclass(frozen=True)
class Call(Generic[R, E]):
    """One call of an agent or of a Stigma workflow, from a workflow.

    Attributes:
        of: which of the two.
        start: the activity that takes the request, starts the execution and stays pending.
        cancel: the activity that stops it.
        request: what `start` takes.
        unique: differs between all calls of a run; the activity's id is made of it.
        summary: what people read beside the call in Temporal; "": the name of what is called.
    """

    of: ExecutionKind[R, E]
    start: Callable[..., Any]
    cancel: Callable[..., Any]
    request: R
    unique: str
    summary: str = ""

    async def run(self, *, timeout: timedelta, heartbeat_timeout: timedelta) -> E:
        """Make the call, and wait for the execution that it comes to.

        Raises:
            ExecutionError: of this kind: it did not complete.
            asyncio.CancelledError: the awaiting task was cancelled; so is the execution.
        """
        name = getattr(self.request, self.of.definition_id)
        close_timeout = self._timeout_with_margin(timeout, heartbeat_timeout)
        call: workflow.ActivityHandle[RawValue] = workflow.start_activity_method(
            self.start,
            payloads.to_binary_payload(self.request),
            # Temporal's own ids are unique in a run only as long as none is set.
            activity_id=f"{self.of.kind}-{self.unique}",
            schedule_to_close_timeout=close_timeout,
            start_to_close_timeout=close_timeout,
            heartbeat_timeout=heartbeat_timeout,
            retry_policy=_CALL_RETRIES,
            summary=self.summary or name or f"inline {self.of.kind}",
        )
        try:
            await workflow.wait([call])
        except asyncio.CancelledError:
            await self._cancel(call)
            raise
        return self._result(call)

    def _timeout_with_margin(self, timeout: timedelta, heartbeat_timeout: timedelta) -> timedelta:
        if timeout <= timedelta() or heartbeat_timeout <= timedelta():
            raise not_started(
                self.of.kind, "timeout and heartbeat_timeout must be positive", "INVALID_ARGUMENT"
            )
        # The API takes a margin off again, at most half of the whole: what is left is `timeout`.
        return timeout + min(timeout, limits.CALLBACK_MARGIN)

    def _result(self, call: workflow.ActivityHandle[RawValue]) -> E:
        try:
            execution = payloads.from_raw(call.result(), self.of.execution)
        except ActivityError as error:
            failure = from_activity_error(error, self.of.kind)
            log_in_workflow(
                "resumed",
                request_id=self.request.request_id,
                execution_id=failure.execution_id,
                error=failure.type,
            )
            # `from None`: a cause would carry the execution once more, perhaps over the size limit.
            raise failure from None
        except ValueError as error:
            raise unexpected_result(
                self.of.kind, f"the activity was completed with something else: {error}"
            ) from None
        log_in_workflow("resumed", request_id=self.request.request_id, execution_id=execution.id)
        return execution

    async def _cancel(self, call: workflow.ActivityHandle[RawValue]) -> None:
        """Cancel the activity and the execution, whatever further cancellations arrive meanwhile.

        Cancelling the activity alone would not do: no code of it runs any more.
        """
        if await _completed_meanwhile(call):
            return
        call.cancel()
        request = self.of.cancel_request(
            request_id=self.request.request_id,
            namespace=workflow.info().namespace,
            reason=_CANCEL_REASON,
        )
        cancel: workflow.ActivityHandle[None] = workflow.start_activity_method(
            self.cancel,
            payloads.to_binary_payload(request),
            schedule_to_close_timeout=_CANCEL_TIMEOUT,
            start_to_close_timeout=_CANCEL_ATTEMPT_TIMEOUT,
            retry_policy=_CANCEL_RETRIES,
        )
        while not cancel.done():
            try:
                await workflow.wait([cancel])
            except asyncio.CancelledError:
                continue  # already cancelling; what we wait for is bounded
        _consume_exception(call)
        if not cancel.cancelled() and cancel.exception() is not None:
            # The execution's own watch over its caller stops it later.
            log_in_workflow(
                "cancel_failed",
                level=logging.WARNING,
                request_id=self.request.request_id,
                reason=_failure_reason(cancel.exception()),
            )


def _failure_reason(error: BaseException | None) -> str:
    """Return what the API answered, or how the activity ended without an answer."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if not isinstance(cause, ApplicationError):
        return type(cause).__name__
    # A refusal has the status code in its detail; a transient error, as its type.
    detail = detail_of(cause) or {}
    return str(detail.get("reason") or cause.type)


async def _completed_meanwhile(call: workflow.ActivityHandle[RawValue]) -> bool:
    """Return whether the outcome came in the same activation as the cancellation."""
    for _ in range(_COMPLETION_TURNS):
        if call.done():
            _consume_exception(call)
            return True
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue
    return False


def _consume_exception(call: workflow.ActivityHandle[RawValue]) -> None:
    """Retrieve an exception that no caller awaits, or asyncio would log it."""
    if call.done() and not call.cancelled():
        call.exception()
