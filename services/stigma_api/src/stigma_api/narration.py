"""Tells one history event of an execution in the API's words. Tokens appear as fingerprints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as TemporalFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as ActivityTimeoutError

from stigma.agent.v1.agent_execution_pb2 import Failure
from stigma.agent.v1.agent_execution_service_pb2 import (
    CallbackBound,
    CallbackDelivering,
    CancelRequested,
    ExecutionStarted,
    ModelCallCompleted,
    ModelCallFailed,
    ModelCallStarted,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_MODEL_TIMEOUT,
)
from stigma.contracts import errors, payloads, tokens
from stigma.contracts.activities import CALL_MODEL, DELIVER_CALLBACK
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    DeliverCallbackRequest,
    ModelCallRequest,
    ModelCallResponse,
)
from stigma_api import outcome

M = TypeVar("M", bound=Message)
Told = WatchAgentExecutionResponse

_LOCAL_ACTIVITY = "core_local_activity"


class Narrator:
    """Tells the events of one run, in order; what closes it is told by who follows the runs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._digest = ""
        self._newest_token = b""
        self._steps: dict[int, int] = {}
        self._delivering = False
        self.told_at = 0
        """Nanoseconds since the epoch of the last event that was worth telling."""

    async def tell(self, event: HistoryEvent) -> Told | None:
        """Return what to tell about an event; None for Temporal's own housekeeping."""
        told = await self._tell(event)
        if told is not None:
            self.told_at = event.event_time.ToNanoseconds()
        return told

    async def _tell(self, event: HistoryEvent) -> Told | None:
        told: Told | None = None
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                told = await self._started(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                told = await self._signaled(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                cause = event.workflow_execution_cancel_requested_event_attributes.cause
                told = Told(cancel_requested=CancelRequested(reason=cause))
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                told = await self._scheduled(event)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                told = await self._completed(event)
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                told = self._marked(event)
            case _:
                told = await self._ended_badly(event)
        return told

    async def _started(self, event: HistoryEvent) -> Told | None:
        attributes = event.workflow_execution_started_event_attributes
        fields = attributes.memo.fields
        self._digest = await outcome.digest_in_memo(self._client, fields)
        if attributes.continued_execution_run_id:
            request = await self._read(attributes.input.payloads, AgentWorkflowInput)
            if request.carried.bindings:
                self._newest_token = request.carried.bindings[-1].token
            return None
        execution = await outcome.from_memo(self._client, fields)
        return Told(started=ExecutionStarted(execution=execution))

    async def _signaled(self, event: HistoryEvent) -> Told | None:
        attributes = event.workflow_execution_signaled_event_attributes
        if attributes.signal_name != "bind":
            return None
        bind = await self._read(attributes.input.payloads, Bind)
        if bind.spec_digest.hex() != self._digest:
            return None  # another request under the same id: the workflow ignored it
        self._newest_token = bind.token
        return Told(callback_bound=CallbackBound(fingerprint=tokens.fingerprint(bind.token)))

    async def _scheduled(self, event: HistoryEvent) -> Told | None:
        attributes = event.activity_task_scheduled_event_attributes
        match attributes.activity_type.name:
            case name if name == CALL_MODEL:
                call = await self._read(attributes.input.payloads, ModelCallRequest)
                self._steps[event.event_id] = call.step
                return Told(model_call_started=ModelCallStarted(step=call.step, model=call.model))
            case name if name == DELIVER_CALLBACK and not self._delivering:
                delivery = await self._read(attributes.input.payloads, DeliverCallbackRequest)
                return self._delivers(delivery.token)
            case _:
                return None

    async def _completed(self, event: HistoryEvent) -> Told | None:
        attributes = event.activity_task_completed_event_attributes
        step = self._steps.get(attributes.scheduled_event_id)
        if step is None:
            return None
        answer = await self._read(attributes.result.payloads, ModelCallResponse)
        completed = ModelCallCompleted(step=step, message=answer.message, usage=answer.usage)
        return Told(model_call_completed=completed)

    async def _ended_badly(self, event: HistoryEvent) -> Told | None:
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                failed = event.activity_task_failed_event_attributes
                scheduled, why = failed.scheduled_event_id, await self._why(failed.failure)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                timed_out = event.activity_task_timed_out_event_attributes
                scheduled, why = timed_out.scheduled_event_id, await self._why(timed_out.failure)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
                scheduled = event.activity_task_canceled_event_attributes.scheduled_event_id
                why = Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
            case _:
                return None
        step = self._steps.get(scheduled)
        if step is None:
            return None
        why.step = f"model_call {step}"
        return Told(model_call_failed=ModelCallFailed(step=step, failure=why))

    async def _why(self, failure: TemporalFailure) -> Failure:
        error = await self._client.data_converter.decode_failure(failure)
        cause = error if isinstance(error, ApplicationError) else error.__cause__ or error
        match cause:
            case ApplicationError():
                return Failure(reason=errors.reason_of(cause.type or ""), message=cause.message)
            case ActivityTimeoutError():
                message = "the model did not answer in time"
                return Failure(reason=FAILURE_REASON_MODEL_TIMEOUT, message=message)
            case CancelledError():
                return Failure(reason=FAILURE_REASON_CANCELLED, message="cancelled")
            case _:
                return Failure(reason=FAILURE_REASON_INTERNAL, message="the model call failed")

    def _marked(self, event: HistoryEvent) -> Told | None:
        marker = event.marker_recorded_event_attributes
        described = b"".join(p.data for p in marker.details["data"].payloads)
        delivery = marker.marker_name == _LOCAL_ACTIVITY and DELIVER_CALLBACK.encode() in described
        return self._delivers() if delivery and not self._delivering else None

    def _delivers(self, token: bytes = b"") -> Told:
        """Tell that a delivery begins; where it is not said to whom, to the newest."""
        self._delivering = True
        fingerprint = tokens.fingerprint(token or self._newest_token)
        return Told(callback_delivering=CallbackDelivering(fingerprint=fingerprint))

    async def _read(self, content: Iterable[Payload], kind: type[M]) -> M:
        [raw] = await self._client.data_converter.decode(list(content), [RawValue])
        return payloads.from_raw(cast("RawValue", raw), kind)
