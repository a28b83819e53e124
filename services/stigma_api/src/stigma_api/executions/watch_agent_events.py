"""Tells the events of an agent's execution: its model calls, beside what all executions have."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure as TemporalFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as ActivityTimeoutError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Failure
from stigma.agent.v1.agent_execution_service_pb2 import (
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
from stigma.contracts import errors
from stigma.contracts.activities import CALL_MODEL
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    ModelCallRequest,
    ModelCallResponse,
)
from stigma_api.executions import outcome
from stigma_api.executions.watch_events import Narrator

Told = WatchAgentExecutionResponse


class AgentNarrator(Narrator[WatchAgentExecutionResponse]):
    """Tells the events of one run of an agent."""

    response = WatchAgentExecutionResponse

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._steps: dict[int, int] = {}
        self._step = 0
        self._model = ""

    async def started(self, event: HistoryEvent) -> Told | None:
        """Tell the start of an execution's first run."""
        attributes = event.workflow_execution_started_event_attributes
        if attributes.continued_execution_run_id:
            request = await self.keep(attributes.input.payloads, AgentWorkflowInput)
            if request.carried.bindings:
                self._newest_token = request.carried.bindings[-1].token
            return None
        execution = await outcome.from_memo(self._client, attributes.memo.fields, AgentExecution)
        return Told(started=ExecutionStarted(execution=execution))

    async def worked(self, event: HistoryEvent) -> Told | None:
        """Tell a model call."""
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                return await self._called(event)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                return await self._completed(event)
            case _:
                return await self._ended_badly(event)

    async def _called(self, event: HistoryEvent) -> Told | None:
        attributes = event.activity_task_scheduled_event_attributes
        if attributes.activity_type.name != CALL_MODEL:
            return None
        await self._count(attributes.input.payloads)
        self._steps[event.event_id] = self._step
        return Told(model_call_started=ModelCallStarted(step=self._step, model=self._model))

    async def _count(self, content: Iterable[Payload]) -> None:
        """Count on from the first call of a run: each holds the whole conversation so far."""
        if self._step:
            self._step += 1
            return
        call = await self.keep(content, ModelCallRequest)
        self._step, self._model = call.step, call.model

    async def _completed(self, event: HistoryEvent) -> Told | None:
        attributes = event.activity_task_completed_event_attributes
        step = self._steps.get(attributes.scheduled_event_id)
        if step is None:
            return None
        answer = await self.read(attributes.result.payloads, ModelCallResponse)
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
