"""The activities that call the outside, and what all of them share."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from typing_extensions import override

from stigma.contracts import engine_calls, limits
from stigma.contracts.engine_calls import (
    CALL_GRPC,
    CALL_HTTP,
    CALL_OPENAPI,
    FETCH_RESOURCE,
    CallActivities,
    CallRequest,
    CallResult,
)
from zigflow_worker.activities.call_evaluation import CallEvaluation, CallOutcome, EvaluatedCall
from zigflow_worker.activities.heartbeats import heartbeats
from zigflow_worker.errors import COMMUNICATION, RUNTIME, WorkflowError, summary
from zigflow_worker.outgoing.secrets import SecretDirectory
from zigflow_worker.program.encoded_sizes import encoded_size

_EXPECTED = ApplicationErrorCategory.BENIGN
"""Of failures that the SDK should neither log nor count as faults of the worker."""


class CallHandler(Protocol):
    """Makes calls of one kind."""

    async def call(self, call: EvaluatedCall) -> CallOutcome:
        """Make a call.

        Raises:
            WorkflowError: it failed; its text has no secrets.
        """


class OutgoingCalls(CallActivities):
    """Evaluates what is left of a call, has it made, and translates its failure."""

    def __init__(
        self,
        secrets: SecretDirectory,
        *,
        http: CallHandler,
        openapi: CallHandler,
        grpc: CallHandler,
        resource: CallHandler,
    ) -> None:
        self._secrets = secrets
        self._http = http
        self._openapi = openapi
        self._grpc = grpc
        self._resource = resource

    @override
    @activity.defn(name=CALL_HTTP)
    async def call_http(self, request: CallRequest) -> CallResult:
        return await self._make(self._http, request)

    @override
    @activity.defn(name=CALL_OPENAPI)
    async def call_openapi(self, request: CallRequest) -> CallResult:
        return await self._make(self._openapi, request)

    @override
    @activity.defn(name=CALL_GRPC)
    async def call_grpc(self, request: CallRequest) -> CallResult:
        return await self._make(self._grpc, request)

    @override
    @activity.defn(name=FETCH_RESOURCE)
    async def fetch_resource(self, request: CallRequest) -> CallResult:
        return await self._make(self._resource, request)

    async def _make(self, handler: CallHandler, request: CallRequest) -> CallResult:
        limit = asyncio.timeout(engine_calls.CALL_TIMEOUT.total_seconds())
        try:
            async with heartbeats(), limit:
                return await self._result(handler, request)
        except WorkflowError as error:
            raise _failed(request, error) from None
        except TimeoutError as error:
            if not limit.expired():
                raise _broken(request, error) from None
            endless = WorkflowError.of(COMMUNICATION, "the call took longer than any may")
            raise _failed(request, endless) from None
        except asyncio.CancelledError:
            if _is_stopping():
                # Another worker makes the call again.
                raise ApplicationError(
                    "the worker is stopping", type="WORKER_SHUTDOWN", category=_EXPECTED
                ) from None
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours
            raise _broken(request, error) from None

    async def _result(self, handler: CallHandler, request: CallRequest) -> CallResult:
        evaluation = CallEvaluation(request, self._secrets)
        try:
            outcome = await handler.call(await asyncio.to_thread(evaluation.evaluate))
            return await asyncio.to_thread(_sized_result, evaluation, outcome)
        except WorkflowError as error:
            raise evaluation.without_secrets(error) from None


def _sized_result(evaluation: CallEvaluation, outcome: CallOutcome) -> CallResult:
    """Return the result; a hostile one takes a second to measure."""
    result = evaluation.result(outcome)
    most = limits.MAX_PAYLOAD_BYTES
    if encoded_size([result.output, result.context], most).utf8 > most:
        detail = f"the output is larger than {most} bytes, or nested too deep"
        raise WorkflowError.of(COMMUNICATION, detail)
    return result


def _failed(request: CallRequest, error: WorkflowError) -> ApplicationError:
    """Log a failure, which is the document's to handle; its text may quote what was sent."""
    info = activity.info()
    structlog.get_logger().info(
        "call_failed",
        activity=info.activity_type,
        workflow_id=info.workflow_id,
        reference=request.reference,
        error_type=error.type.rpartition("/")[2],
        status=error.problem["status"],
    )
    return _failure(error, _EXPECTED)


def _broken(request: CallRequest, error: Exception) -> ApplicationError:
    """Log a bug of ours, without its text, which may quote secrets."""
    name = type(error).__name__
    structlog.get_logger().error("call_broke", reference=request.reference, reason=name)
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
