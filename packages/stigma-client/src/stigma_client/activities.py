"""The activities of a caller's worker: for agents and workflows, one waits and one stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from stigma.agent.v1.agent_execution_pb2 import TemporalCaller
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.contracts import payloads, phases, tokens
from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.errors import ErrorType, failure_details, failure_message
from stigma.contracts.executions import Execution, Kind, phase_name
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma_client import kinds
from stigma_client.connection import ApiConnection
from stigma_client.events import log_in_activity
from stigma_client.grpc_errors import FAILED, RPC_ERRORS, application_error_from
from stigma_client.kinds import E, ExecutionKind, R

CANCEL_AGENT = "cancel_agent"
CALL_WORKFLOW = "call_workflow"
CANCEL_WORKFLOW = "cancel_workflow"

# Timeout of one RPC. Temporal retries the activity, so a lost reply costs seconds, not the call.
RPC_TIMEOUT_SECONDS = 10.0

# Retries of a cancellation that is not found: it may have overtaken the start it is about.
CANCEL_NOT_FOUND_RETRY_SECONDS = 5.0
CANCEL_RETRY_INTERVAL_SECONDS = 0.25

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class AgentActivities:
    """Activities that reach the API's agents over one connection."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection

    @activity.defn(name=CALL_AGENT)
    async def call_agent(self, request: RawValue) -> RawValue:
        """Start an agent and leave this activity pending: Stigma completes it with the outcome.

        Args:
            request: a StartAgentRequest without token, caller and deadline, which are this
                activity's own.

        Returns:
            The AgentExecution, only when it had completed before this attempt.

        Raises:
            ApplicationError: an `ErrorType` when the API refuses, or when the execution had ended
                otherwise before this attempt; retryable for a transient fault.
        """
        return await _call(kinds.AGENT, request, self._connection)

    @activity.defn(name=CANCEL_AGENT)
    async def cancel_agent(self, request: RawValue) -> None:
        """Ask for an agent's execution to be cancelled.

        Args:
            request: a CancelAgentExecutionRequest that names a request id.

        Raises:
            ApplicationError: the API refuses; retryable for a transient fault.
        """
        await _cancel(kinds.AGENT, request, self._connection)


class WorkflowActivities:
    """Activities that reach the API's workflows over one connection."""

    def __init__(self, connection: ApiConnection) -> None:
        self._connection = connection

    @activity.defn(name=CALL_WORKFLOW)
    async def call_workflow(self, request: RawValue) -> RawValue:
        """Start a Stigma workflow and leave this activity pending, as `call_agent` does.

        Args:
            request: a StartWorkflowRequest without token, caller and deadline.

        Returns:
            The WorkflowExecution, only when it had completed before this attempt.

        Raises:
            ApplicationError: as `call_agent`, with the error types of workflows.
        """
        return await _call(kinds.WORKFLOW, request, self._connection)

    @activity.defn(name=CANCEL_WORKFLOW)
    async def cancel_workflow(self, request: RawValue) -> None:
        """Ask for a Stigma workflow's execution to be cancelled.

        Args:
            request: a CancelWorkflowExecutionRequest that names a request id.

        Raises:
            ApplicationError: the API refuses; retryable for a transient fault.
        """
        await _cancel(kinds.WORKFLOW, request, self._connection)


async def _call(of: ExecutionKind[R, E], request: RawValue, connection: ApiConnection) -> RawValue:
    kind, start = of.kind, _decode(request, of.start_request, of.kind)
    _fill_in_caller(start)
    correlation = {
        "request_id": start.request_id,
        str(kind): getattr(start, of.definition_id),
        "callback_fingerprint": tokens.fingerprint(start.callback_token),
        "token_length": len(start.callback_token),
    }
    log_in_activity("token_taken", **correlation)
    if not start.callback_token:
        _refuse("this activity has no task token, so nobody could complete it", kind)
    log_in_activity("start_requested", **correlation)
    try:
        execution = await _retryable_on_shutdown(
            of.start_rpc(connection)(
                start, timeout=RPC_TIMEOUT_SECONDS, metadata=connection.metadata()
            )
        )
    except RPC_ERRORS as error:
        # `from None`: gRPC's own text repeats the call's metadata in some of its forms.
        raise application_error_from(
            error,
            kind,
            call=f"Start{kind.title()}",
            step=f"start_{kind}",
            attempt=activity.info().attempt,
        ) from None
    correlation |= {"execution_id": execution.id}
    log_in_activity("acknowledged", **correlation)
    if not phases.has_ended(execution):
        log_in_activity("pending", **correlation)
        activity.raise_complete_async()
    return _outcome(execution)


async def _cancel(of: ExecutionKind[R, E], request: RawValue, connection: ApiConnection) -> None:
    kind, cancel = of.kind, _decode(request, of.cancel_request, of.kind)
    try:
        await _retryable_on_shutdown(
            _cancel_once_found(cancel, connection, of.cancel_rpc(connection))
        )
    except RPC_ERRORS as error:
        raise application_error_from(
            error, kind, call=f"Cancel{kind.title()}Execution", step=f"cancel_{kind}"
        ) from None


async def _cancel_once_found(
    cancel: Message, connection: ApiConnection, rpc: Callable[..., Awaitable[Execution]]
) -> None:
    clock = asyncio.get_running_loop().time
    give_up = clock() + CANCEL_NOT_FOUND_RETRY_SECONDS
    while True:
        try:
            await rpc(cancel, timeout=RPC_TIMEOUT_SECONDS, metadata=connection.metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND or clock() >= give_up:
                raise
            await asyncio.sleep(CANCEL_RETRY_INTERVAL_SECONDS)
        else:
            return


def _fill_in_caller(start: StartAgentRequest | StartWorkflowRequest) -> None:
    """Set caller, deadline and token of a request: those of this activity."""
    info = activity.info()
    start.callback_token = info.task_token
    start.caller.CopyFrom(
        TemporalCaller(
            namespace=info.workflow_namespace or info.namespace,
            workflow_id=info.workflow_id or "",
            run_id=info.workflow_run_id or "",
            activity_id=info.activity_id,
        )
    )
    if info.heartbeat_timeout:
        start.caller.heartbeat_timeout.FromTimedelta(info.heartbeat_timeout)
    if info.schedule_to_close_timeout:
        deadline = info.scheduled_time + info.schedule_to_close_timeout
        start.callback_deadline.FromDatetime(deadline)
        # Both of Temporal's clock: neither this machine's nor the API's need agree with it.
        start.caller.callback_timeout.FromTimedelta(deadline - info.started_time)


async def _retryable_on_shutdown(call: Awaitable[T]) -> T:
    """Let another worker try again when this one is stopped in the middle of the call."""
    try:
        return await call
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if activity.is_worker_shutdown() or (details is not None and details.worker_shutdown):
            raise ApplicationError("the worker is shutting down", type="WORKER_SHUTDOWN") from None
        raise


def _outcome(execution: Execution) -> RawValue:
    if phase_name(execution) == "COMPLETED":
        return payloads.to_binary_payload(execution)
    raise ApplicationError(
        failure_message(execution),
        failure_details(execution),
        type=ErrorType.of(execution),
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,  # an outcome, not a fault of this worker
    )


def _decode(raw: RawValue, message_type: type[M], kind: Kind) -> M:
    try:
        return payloads.from_raw(raw, message_type)
    except ValueError as error:
        _refuse(f"malformed input: {error}", kind)


def _refuse(message: str, kind: Kind) -> NoReturn:
    raise ApplicationError(
        f"INVALID_ARGUMENT: {message} at start_{kind}",
        {"reason": "INVALID_ARGUMENT", "step": f"start_{kind}"},
        type=FAILED[kind],
        non_retryable=True,
    )
