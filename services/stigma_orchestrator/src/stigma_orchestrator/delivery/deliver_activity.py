"""The activity that resolves a waiting activity: one RPC, no more.

Payloads are built here, byte by byte: no codec and no external storage of ours may touch what goes
into a caller's history, since a ciphertext or a reference there wedges the caller's workflow task.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflowservice.v1 import (
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedRequest,
)
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    CALLBACK_STATE_DELIVERED,
    AgentOutput,
    CallbackPayload,
)
from stigma.contracts import errors, executions, json_text, payloads, tokens
from stigma.contracts.activities import (
    DELIVER_CALLBACK,
    DELIVER_WORKFLOW_CALLBACK,
    CallbackActivities,
)
from stigma.contracts.executions import Execution
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DELIVERY_VERDICT_UNDELIVERABLE,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
)
from stigma.runtime.pending_activities import find_pending_activity
from stigma_orchestrator.delivery.caller_timeouts import grace_period
from stigma_orchestrator.delivery.metrics import CallbackMetrics

# Less than the workflow's timeout, so that the error is ours and not a timeout.
_RPC_TIMEOUT = timedelta(seconds=4)
_BETWEEN_ATTEMPTS_DELAY = timedelta(seconds=2)
_FINAL_CODES = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED})


class CallbackSender(CallbackActivities):
    """Sends outcomes to waiting activities through Temporal."""

    def __init__(self, client: Client, metrics: CallbackMetrics) -> None:
        self._client = client
        self._metrics = metrics
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    @override
    @activity.defn(name=DELIVER_CALLBACK)
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        fingerprint = _fingerprint(request)
        log = self._log.bind(
            execution_id=request.execution_id,
            request_id=request.request_id,
            callback_fingerprint=fingerprint,
            token_length=len(request.token),
            by_id=not request.token,
            attempt=activity.info().attempt,
        )
        log.info("delivering")
        started = time.perf_counter()
        try:
            await self._send(request)
        except RPCError as error:
            verdict = _final_verdict(error)
            self._metrics.observe_rpc(time.perf_counter() - started)
            log.warning("delivery_failed", code=error.status.name, final=verdict is not None)
            if error.status == RPCStatusCode.NOT_FOUND:
                await self._raise_between_attempts(request)
            self._metrics.count_failed(error.status)
            if verdict is None:
                # The RPC's own text may quote the request.
                raise ApplicationError(
                    f"delivery failed: {error.status.name}", type=error.status.name
                ) from None
            verdict.fingerprint = fingerprint
            return verdict
        self._metrics.observe_rpc(time.perf_counter() - started)
        self._metrics.count_delivered()
        log.info("delivered")
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_DELIVERED, fingerprint=fingerprint)

    @override
    @activity.defn(name=DELIVER_WORKFLOW_CALLBACK)
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        return await self.deliver_callback(request)

    async def _raise_between_attempts(self, request: DeliverCallbackRequest) -> None:
        """Raise to be retried when the activity is there but no attempt of it has started.

        A completion by id reaches it even then, a failure does not. Where looking it up is not
        permitted, an attempt has the grace period to start.
        """
        caller = request.caller
        if not caller.activity_id:
            return
        try:
            pending = await find_pending_activity(
                self._client,
                namespace=request.namespace,
                workflow_id=caller.workflow_id,
                run_id=caller.run_id,
                activity_id=caller.activity_id,
            )
        except RPCError as error:
            if error.status != RPCStatusCode.PERMISSION_DENIED:
                self._metrics.count_failed(error.status)
            elif _has_tried_for(grace_period(caller)):
                return
            name = error.status.name
            raise ApplicationError(f"lookup failed: {name}", type=name) from None
        if pending is not None:
            raise ApplicationError(
                "no attempt of the activity has started",
                type="BETWEEN_ATTEMPTS",
                next_retry_delay=_BETWEEN_ATTEMPTS_DELAY,
                category=ApplicationErrorCategory.BENIGN,
            )

    async def _send(self, request: DeliverCallbackRequest) -> None:
        target = self._target(request)
        execution = executions.delivered_execution(request)
        if execution.status.HasField("callback"):
            # Whoever reads it has got it.
            execution.status.callback.state = CALLBACK_STATE_DELIVERED
        if execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED:
            await self._complete(target, _result(execution, request.payload))
        elif request.report_cancellation:
            await self._cancel(target, payloads.json_payload(errors.failure_details(execution)))
        else:
            await self._fail(target, _failure(execution))

    def _target(self, request: DeliverCallbackRequest) -> dict[str, Any]:
        common = {
            "namespace": request.namespace or self._client.namespace,
            "identity": self._client.identity,
        }
        if request.token:
            return common | {"task_token": request.token}
        caller = request.caller
        return common | {
            "workflow_id": caller.workflow_id,
            "run_id": caller.run_id,
            "activity_id": caller.activity_id,
        }

    async def _complete(self, target: dict[str, Any], result: Payload) -> None:
        service, options = self._client.workflow_service, self._options()
        message = Payloads(payloads=[result])
        if "task_token" in target:
            await service.respond_activity_task_completed(
                RespondActivityTaskCompletedRequest(**target, result=message), **options
            )
        else:
            await service.respond_activity_task_completed_by_id(
                RespondActivityTaskCompletedByIdRequest(**target, result=message), **options
            )

    async def _fail(self, target: dict[str, Any], failure: Failure) -> None:
        service, options = self._client.workflow_service, self._options()
        if "task_token" in target:
            await service.respond_activity_task_failed(
                RespondActivityTaskFailedRequest(**target, failure=failure), **options
            )
        else:
            await service.respond_activity_task_failed_by_id(
                RespondActivityTaskFailedByIdRequest(**target, failure=failure), **options
            )

    async def _cancel(self, target: dict[str, Any], details: Payload) -> None:
        service, options = self._client.workflow_service, self._options()
        message = Payloads(payloads=[details])
        if "task_token" in target:
            await service.respond_activity_task_canceled(
                RespondActivityTaskCanceledRequest(**target, details=message), **options
            )
        else:
            await service.respond_activity_task_canceled_by_id(
                RespondActivityTaskCanceledByIdRequest(**target, details=message), **options
            )

    @staticmethod
    def _options() -> dict[str, Any]:
        # The local activity has the SDK's own retries; after that Temporal retries, and shows it.
        return {"retry": activity.info().is_local, "timeout": _RPC_TIMEOUT}


def _fingerprint(request: DeliverCallbackRequest) -> str:
    """Return the fingerprint of the target's token; by id, the execution holds it."""
    execution = executions.delivered_execution(request)
    return tokens.fingerprint(request.token) or execution.status.callback.fingerprint


def _has_tried_for(time: timedelta) -> bool:
    # Both of Temporal's clock, which is not this machine's.
    return activity.info().started_time - activity.info().scheduled_time >= time


def _final_verdict(error: RPCError) -> DeliverCallbackResponse | None:
    """Return the verdict of a final error, None for a transient one."""
    if error.status == RPCStatusCode.NOT_FOUND:
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_NOT_FOUND)
    if error.status in _FINAL_CODES:
        return DeliverCallbackResponse(
            verdict=DELIVERY_VERDICT_UNDELIVERABLE,
            message=f"Temporal refused the delivery: {error.status.name}",
        )
    return None


def _result(execution: Execution, payload: CallbackPayload.ValueType) -> Payload:
    """Encode a success for the caller's history."""
    if payload == CallbackPayload.CALLBACK_PAYLOAD_OUTPUT:
        output = execution.status.output
        if isinstance(output, AgentOutput) and not output.json:
            return payloads.json_text_payload(json_text.compact(output.text))
        return payloads.json_text_payload(output.json)
    return payloads.binary_payload(execution)


def _failure(execution: Execution) -> Failure:
    """Encode a failure for the caller's history; its details are plain JSON."""
    details = payloads.json_payload(errors.failure_details(execution))
    return Failure(
        message=errors.failure_message(execution),
        source="Stigma",
        application_failure_info=ApplicationFailureInfo(
            type=errors.ErrorType.of(execution),
            non_retryable=True,
            details=Payloads(payloads=[details]),
        ),
    )
