"""The one reading of an execution's history: maps Temporal's events to facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import InputResolution, ToolResult
from stigma.contracts import agent_runtime, workflows
from stigma.contracts.activities import (
    CALL_MODEL,
    CONVERSE,
    DELIVERIES,
    SUMMARIZE,
    WATCH_CALLER,
)
from stigma.contracts.history_events import accepted_input
from stigma.contracts.pending_inputs import MEMO
from stigma.contracts.tools import model_step, summary_step
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    AgentWorkflowInput,
    Bind,
    ConverseRequest,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    PendingInputs,
    SendMessage,
    SummarizeRequest,
    SummarizeResponse,
    WatchCallerResponse,
)
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history_facts import Content, Fact, M, SharedContent, Step
from stigma_api.executions.tool_calls import ToolCallReader
from stigma_api.temporal.histories import CLOSING_EVENTS
from stigma_api.temporal.payloads import plain, raw

BINDING_EVENTS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    }
)
"""Events that can tell of bound attempts."""

_LOCAL_ACTIVITY = "core_local_activity"


class HistoryReader:
    """Reads the events of one run, in order; the first ones may be left out.

    Args:
        client: decodes payloads.
        execution_id: of the execution.
        digest: of the request that started the execution, in hex: attempts of another request
            under the same id are ignored, as the workflow does.
    """

    def __init__(self, client: Client, execution_id: str, digest: str) -> None:
        self._client = client
        self._digest = digest
        self._calls = ToolCallReader(client, execution_id)
        self._steps: dict[int, Step] = {}
        self._conversing: set[int] = set()
        """Model calls of an agent with tools, by the events that scheduled them."""
        self._admitted: dict[int, Any] = {}
        """Inputs of updates that a reset has brought along, by event."""
        self._answers: set[int] = set()
        """Updates that answer pending inputs, by the events that accepted them."""
        self._execution_id = execution_id
        self._reports: set[str] = set()
        self._model_calls = 0
        self._model = ""

    async def read(self, event: HistoryEvent) -> Fact | None:
        """Return the fact that an event records; None for Temporal's own housekeeping."""
        name = event.WhichOneof("attributes") or ""
        attributes = getattr(event, name, None)
        if event.event_type in CLOSING_EVENTS:
            return facts.Closed(event)
        if (of_a_tool := self._calls.read(event, attributes)) is not None:
            return of_a_tool
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            return await self._read_scheduled(event.event_id, attributes)
        if name.startswith("activity_task_"):
            return await self._read_activity(event, attributes)
        if "child_workflow_execution" in name:
            return self._read_engine_run(event, attributes)
        return await self._read_workflow(event, attributes)

    async def calls_left_open(self) -> Sequence[ToolResult]:
        """Return the results of tool calls that had not ended when the execution did."""
        return await self._calls.left_open()

    async def _read_workflow(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                content = self._content(attributes.input, AgentWorkflowInput)
                self._calls.begin(content)
                previous = attributes.continued_execution_run_id
                return facts.RunStarted(previous, attributes.memo.fields, content)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                return await self._read_signal(attributes)
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                return facts.WorkflowTaskStarted()
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                return facts.CancelRequested(attributes.cause)
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                return await self._read_marker(attributes)
        return self._read_input(event, attributes)

    def _read_input(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        """Return what is waited for, or came, from people."""
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
                if (inputs := attributes.upserted_memo.fields.get(MEMO)) is not None:
                    return facts.InputsChanged(Content(self._client, [inputs], PendingInputs))
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
                self._admitted[event.event_id] = attributes.request.input
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                update = accepted_input(attributes, self._admitted)
                return self._read_update(event.event_id, update)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
                if attributes.accepted_event_id in self._answers:
                    resolution = self._content(attributes.outcome.success, InputResolution)
                    return facts.InputResolved(resolution)
        return None

    def _read_update(self, event_id: int, update: Any) -> Fact | None:
        match update.name:
            case workflows.SEND_MESSAGE:
                return facts.MessageSent(self._content(update.args, SendMessage))
            case workflows.STOP_AFTER_STEP:
                return facts.CancelRequested("after the step under way")
            case workflows.SUBMIT_INPUT:
                self._answers.add(event_id)
        return None

    async def _read_signal(self, attributes: Any) -> Fact | None:
        if attributes.signal_name == workflows.REPORT:
            return await self._read_report(attributes.input.payloads)
        if attributes.signal_name != workflows.BIND:
            return None
        bind = await self._content(attributes.input, Bind).read()
        is_bound = bind.spec_digest.hex() == self._digest and facts.is_token(bind.token)
        return facts.Bound(bind) if is_bound else None

    async def _read_report(self, content: Iterable[Payload]) -> Fact | None:
        """Return the step that a report tells of; None for a repetition, and for any other."""
        try:
            report = agent_runtime.read_report(await raw(self._client, content))
        except ValueError:
            return None
        if report.id in self._reports:
            return None
        self._reports.add(report.id)
        return facts.StepReported(len(self._reports), report)

    async def _read_marker(self, attributes: Any) -> Fact | None:
        if attributes.marker_name != _LOCAL_ACTIVITY:
            return None
        data = await plain(self._client, attributes.details["data"].payloads)
        if data.get("activity_type") not in DELIVERIES:
            return None
        return facts.LocalDelivery(
            attempt=int(data.get("attempt") or 1),
            start=_marker_time(data.get("original_schedule_time")),
            end=_marker_time(data.get("complete_time")),
            failed=attributes.HasField("failure"),
            response=self._content(attributes.details["result"], DeliverCallbackResponse),
        )

    async def _read_activity(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        step = self._steps.get(attributes.scheduled_event_id)
        if step is None:
            return None
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                return facts.AttemptStarted(step, attributes.attempt)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                return await self._read_completed(step, attributes.result)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
                return facts.StepFailed(step, None, "cancelled")
            case (
                EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
                | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
            ):
                return facts.StepFailed(step, attributes.failure, "")
        return None

    async def _read_scheduled(self, event_id: int, attributes: Any) -> Step | None:
        name, ids = attributes.activity_type.name, (event_id, attributes.activity_id)
        step: Step
        number = model_step(attributes.activity_id)
        if name == CALL_MODEL:
            self._calls.has_none()
            await self._count_model_call(attributes.input)
            step = facts.ModelCallStarted(*ids, self._model_calls, self._model)
        elif name == CONVERSE and number is not None:
            # One run has one model.
            request = SharedContent(self._client, attributes.input.payloads, ConverseRequest)
            self._model = self._model or (await request.read()).model
            step = facts.ModelCallStarted(*ids, number, self._model, request)
            self._conversing.add(event_id)
        elif name == SUMMARIZE and (number := summary_step(attributes.activity_id)) is not None:
            summary = SharedContent(self._client, attributes.input.payloads, SummarizeRequest)
            step = facts.SummaryStarted(*ids, number, summary)
        elif name in DELIVERIES:
            delivery = self._content(attributes.input, DeliverCallbackRequest)
            step = facts.DeliveryStarted(*ids, delivery)
        elif name == WATCH_CALLER:
            step = facts.CallerWatchStarted(*ids)
        else:
            return None
        self._steps[event_id] = step
        return step

    async def _count_model_call(self, content: Any) -> None:
        """Count on from the first call of a run: each holds the whole conversation so far."""
        if self._model_calls:
            self._model_calls += 1
            return
        call = await self._content(content, ModelCallRequest).read()
        self._model_calls, self._model = call.step, call.model

    async def _read_completed(self, step: Step, result: Any) -> Fact:
        match step:
            case facts.ModelCallStarted() if step.event_id in self._conversing:
                answer = SharedContent(self._client, result.payloads, ConverseResponse)
                self._calls.answered(answer)
                return facts.ModelCallCompleted(step, answer)
            case facts.ModelCallStarted():
                return facts.ModelCallCompleted(step, self._content(result, ModelCallResponse))
            case facts.SummaryStarted():
                summary = self._content(result, SummarizeResponse)
                return facts.SummaryCompleted(step, summary)
            case facts.DeliveryStarted():
                response = self._content(result, DeliverCallbackResponse)
                return facts.DeliveryCompleted(step, response)
        verdict = (await self._content(result, WatchCallerResponse).read()).verdict
        return facts.CallerLost(verdict == CALLER_VERDICT_CANCEL_REQUESTED)

    def _read_engine_run(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        if event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            child, name = attributes.workflow_id, attributes.workflow_type.name
            is_agent = agent_runtime.is_child(self._execution_id, child)
            queue = attributes.task_queue.name if is_agent else ""
            step = facts.EngineRunRequested(event.event_id, "", child, name, queue)
            self._steps[event.event_id] = step
            return step
        requested = self._steps.get(attributes.initiated_event_id)
        if not isinstance(requested, facts.EngineRunRequested):
            return None
        match event.event_type:
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                return facts.EngineRunStarted(requested, attributes.workflow_execution.run_id)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
                return facts.EngineRunCompleted(requested)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
                return facts.StepFailed(requested, attributes.failure, "")
        status = EventType.Name(event.event_type).rpartition("_EXECUTION_")[2]
        return facts.StepFailed(requested, None, status.lower().replace("_", " "))

    def _content(self, content: Any, message_type: type[M]) -> Content[M]:
        payloads: Iterable[Payload] = content.payloads
        return Content(self._client, payloads, message_type)


def previous_run_id(event: HistoryEvent) -> str:
    """Return the run that this event's run continued, if the event is its first; else empty."""
    return event.workflow_execution_started_event_attributes.continued_execution_run_id


def next_run_id(event: HistoryEvent) -> str:
    """Return the run that continued this event's run, if the event is its last; else empty."""
    return event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id


def _marker_time(value: Any) -> datetime | None:
    """Return a time in a local activity's marker; None for what the SDK does not write."""
    try:
        since = timedelta(seconds=value["seconds"], microseconds=value["nanos"] // 1000)
        return datetime.fromtimestamp(0, UTC) + since
    except (TypeError, KeyError, OverflowError):
        return None
