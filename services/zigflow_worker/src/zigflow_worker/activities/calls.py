"""The activities that call the outside, and what all of them share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import Any, Protocol

import structlog
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from stigma.contracts import engine_calls, limits
from stigma.contracts.engine_calls import (
    CALL_GRPC,
    CALL_HTTP,
    CALL_OPENAPI,
    FETCH_RESOURCE,
    CallRequest,
)
from zigflow_worker.activities.call_evaluation import CallEvaluation, CallOutcome, EvaluatedCall
from zigflow_worker.activities.heartbeats import heartbeats
from zigflow_worker.errors import COMMUNICATION, RUNTIME, WorkflowError, summary
from zigflow_worker.outgoing.memory import CallMemory, MemoryBudget, RequestWaitsError
from zigflow_worker.outgoing.secrets import SecretDirectory
from zigflow_worker.program.encoded_sizes import encoded_size
from zigflow_worker.threads import run_in_thread

_EXPECTED = ApplicationErrorCategory.BENIGN
"""Of failures that the SDK should neither log nor count as faults of the worker."""


class CallHandler(Protocol):
    """Makes calls of one kind."""

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        """Make a call.

        Raises:
            WorkflowError: it failed; its text has no secrets.
        """


@dataclass(slots=True)
class _Attempt:
    """One attempt of a call: its request as it came, and what the attempt holds."""

    request: RawValue
    memory: CallMemory
    reference: str = field(default="", init=False)
    """JSON pointer of the task, once the request is decoded."""

    def decoded(self) -> CallRequest:
        """Return the request (raises ApplicationError: another release wrote it)."""
        converter = activity.payload_converter()
        try:
            [request] = converter.from_payloads([self.request.payload], [CallRequest])
        except Exception as error:  # noqa: BLE001 - of a converter
            name = type(error).__name__
            raise ApplicationError(f"the request cannot be decoded: {name}") from None
        self.reference = request.reference
        return request  # type: ignore[no-any-return] # as from_payloads was told


class OutgoingCalls:
    """Evaluates what is left of a call, has it made, and translates its failure.

    These are the CallActivities, with requests and results as payloads: data is decoded where the
    worker's memory has room for it, and encoded before another call takes its place.
    """

    def __init__(
        self,
        secrets: SecretDirectory,
        memory: MemoryBudget,
        *,
        http: CallHandler,
        openapi: CallHandler,
        grpc: CallHandler,
        resource: CallHandler,
    ) -> None:
        self._secrets = secrets
        self._memory = memory
        self._http = http
        self._openapi = openapi
        self._grpc = grpc
        self._resource = resource

    @activity.defn(name=CALL_HTTP)
    async def call_http(self, request: RawValue) -> RawValue:
        """Call an HTTP endpoint."""
        return await self._make(self._http, request)

    @activity.defn(name=CALL_OPENAPI)
    async def call_openapi(self, request: RawValue) -> RawValue:
        """Call an operation of an OpenAPI document."""
        return await self._make(self._openapi, request)

    @activity.defn(name=CALL_GRPC)
    async def call_grpc(self, request: RawValue) -> RawValue:
        """Call a method of a gRPC service."""
        return await self._make(self._grpc, request)

    @activity.defn(name=FETCH_RESOURCE)
    async def fetch_resource(self, request: RawValue) -> RawValue:
        """Return an external resource as JSON text."""
        return await self._make(self._resource, request)

    async def _make(self, handler: CallHandler, request: RawValue) -> RawValue:
        attempt = _Attempt(request, self._memory.new_call())
        _release_at_end(attempt.memory)
        limit = asyncio.timeout(engine_calls.CALL_TIMEOUT.total_seconds())
        try:
            async with heartbeats(), limit:
                result = await self._result(handler, attempt)
        except WorkflowError as error:
            raise _failed(attempt, error) from None
        except TimeoutError as error:
            if not limit.expired():
                raise _broken(attempt, error) from None
            endless = WorkflowError.of(COMMUNICATION, "the call took longer than any may")
            raise _failed(attempt, endless) from None
        except asyncio.CancelledError:
            if _is_stopping():
                # Another worker makes the call again.
                raise ApplicationError(
                    "the worker is stopping", type="WORKER_SHUTDOWN", category=_EXPECTED
                ) from None
            raise
        except ApplicationError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours
            raise _broken(attempt, error) from None
        attempt.memory.keep_result(result.payload.ByteSize())
        return result

    async def _result(self, handler: CallHandler, attempt: _Attempt) -> RawValue:
        """Return the result; a request that has to wait for memory is made again afterwards."""
        while True:
            try:
                return await self._made(handler, attempt)
            except RequestWaitsError as waits:
                size, server = waits.size, waits.server
            await attempt.memory.wait_for_request(size, server)

    async def _made(self, handler: CallHandler, attempt: _Attempt) -> RawValue:
        await attempt.memory.decode_request(attempt.request.payload.ByteSize())
        evaluation = CallEvaluation(await run_in_thread(attempt.decoded), self._secrets)
        try:
            # No name: the call's arguments are to be freed by whoever has made a request of them.
            outcome = await handler.call(
                await run_in_thread(_evaluated, evaluation, attempt.memory)
            )
            return await run_in_thread(_encoded_result, evaluation, outcome, attempt)
        except WorkflowError as error:
            raise evaluation.without_secrets(error) from None


def _release_at_end(memory: CallMemory) -> None:
    """Release when the activity's task ends: the SDK sends the result from it."""
    task: asyncio.Task[Any] | None = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda _: memory.release())


def _evaluated(evaluation: CallEvaluation, memory: CallMemory) -> EvaluatedCall:
    call = evaluation.evaluate(memory)
    evaluation.forget()
    return call


def _encoded_result(
    evaluation: CallEvaluation, outcome: CallOutcome, attempt: _Attempt
) -> RawValue:
    """Return the result as it is sent; a hostile one takes a second to measure."""
    if evaluation.has_output_rules:
        result = evaluation.of_rules(attempt.decoded()).result(outcome)
    else:
        result = evaluation.result(outcome)
    most = limits.MAX_PAYLOAD_BYTES
    if encoded_size([result.output, result.context], most).utf8 > most:
        detail = f"the output is larger than {most} bytes, or nested too deep"
        raise WorkflowError.of(COMMUNICATION, detail)
    # Not as the CallResult that it is: that would be copied first.
    fields = {"output": result.output, "context": result.context}
    return RawValue(activity.payload_converter().to_payload(fields))


def _forget_data(error: BaseException | None) -> None:
    """Free what the frames of a failure have; circles would keep it until garbage is collected."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


def _failed(attempt: _Attempt, error: WorkflowError) -> ApplicationError:
    """Log a failure, which is the document's to handle; its text may quote what was sent."""
    _forget_data(error)
    info = activity.info()
    structlog.get_logger().info(
        "call_failed",
        activity=info.activity_type,
        workflow_id=info.workflow_id,
        reference=attempt.reference,
        error_type=error.type.rpartition("/")[2],
        status=error.problem["status"],
    )
    return _failure(error, _EXPECTED)


def _broken(attempt: _Attempt, error: Exception) -> ApplicationError:
    """Log a bug of ours, without its text, which may quote secrets."""
    _forget_data(error)
    name = type(error).__name__
    structlog.get_logger().error("call_broke", reference=attempt.reference, reason=name)
    return _failure(WorkflowError.of(RUNTIME, f"unexpected {name}"))


def _failure(
    error: WorkflowError, category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED
) -> ApplicationError:
    problem = error.problem
    return ApplicationError(
        summary(problem),
        problem,
        type=str(problem["type"]),
        non_retryable=True,
        category=category,
    )


def _is_stopping() -> bool:
    details = activity.cancellation_details()
    return activity.is_worker_shutdown() or (details is not None and details.worker_shutdown)
