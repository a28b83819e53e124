"""Calls of the outside: one activity, which nothing but a lost worker repeats."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception
from typing_extensions import override

from stigma.contracts import engine_calls, limits
from stigma.contracts.engine_calls import CallActivities, CallRequest, CallResult
from stigma.contracts.engine_summaries import Tries, call_summary
from zigflow_worker.errors import RUNTIME, ErrorType, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.calls import CallFormula
from zigflow_worker.program.effects import Effect, EffectOperation, error_of
from zigflow_worker.program.encoded_sizes import encoded_size
from zigflow_worker.program.model import Frame, Run

CallMethod = Callable[[CallActivities, CallRequest], Awaitable[CallResult]]

CALL_CANCELLED = ErrorType.standard("runtime", 500, "Call Cancelled")


@dataclass(slots=True)
class CallOperation(EffectOperation):
    """One call of the outside; the output is the activity's."""

    cancelled = CALL_CANCELLED
    method: CallMethod
    """The method of CallActivities that makes it."""
    call: CallFormula

    @override
    def request(self, run: Run, frame: Frame) -> Effect:
        request = self._request(run, frame)
        parts: list[JSON] = [
            *(request.arguments, request.authentication, request.subject),
            *(dict(request.variables), request.input_from, request.output_as, request.export_as),
            *(value.template for value in request.deferred),
        ]
        size = encoded_size(parts, limits.MAX_PAYLOAD_BYTES).utf8
        if size > limits.MAX_PAYLOAD_BYTES:
            detail = f"the arguments are larger than {limits.MAX_PAYLOAD_BYTES} bytes, or too deep"
            raise WorkflowError.of(RUNTIME, detail).with_reason("TOO_LARGE")
        return Effect(size, partial(make_call, self.method, request))

    def _request(self, run: Run, frame: Frame) -> CallRequest:
        call = self.call
        variables: Any = run.value(call.variables, frame, frame.input)
        policy = call.authentication
        return CallRequest(
            reference=frame.step.pointer,
            arguments=run.value(call.arguments, frame, frame.input),
            authentication=None if policy is None else run.value(policy, frame, frame.input),
            deferred=call.deferred,
            subject=frame.input if call.deferred or call.input_from is not None else None,
            variables=variables,
            secrets=call.secrets,
            input_from=call.input_from,
            output_as=call.output_as,
            export_as=call.export_as,
        )

    @override
    def output(self, run: Run, frame: Frame, result: Any) -> JSON:
        outcome: CallResult = result
        frame.exported = outcome.context
        output: JSON = outcome.output
        return output


async def make_call(method: CallMethod, request: CallRequest, tries: Tries | None) -> Any:
    """Have the activity make a call, in one try of its task.

    Raises:
        EffectError: the call failed, with the problem that the activity gave.
        WorkflowError: it was cancelled, or no worker completed it.
    """
    try:
        return await workflow.execute_activity_method(
            method,
            request,
            start_to_close_timeout=engine_calls.CALL_TIMEOUT + engine_calls.CALL_TIMEOUT_SLACK,
            heartbeat_timeout=engine_calls.CALL_HEARTBEAT_TIMEOUT,
            retry_policy=engine_calls.CALL_RETRIES,
            summary=call_summary(request.reference, tries),
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise WorkflowError.of(CALL_CANCELLED, "the call was cancelled") from None
        raise error_of(error) from None
