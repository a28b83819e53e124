"""What an execution has others do, in its timeline: model calls, the engine's run, deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts import tokens
from stigma.contracts.activities import CALL_MODEL, DELIVERIES, WATCH_CALLER
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_CANCEL_REQUESTED,
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    WatchCallerResponse,
)
from stigma_api.diagnosis.timeline.entries import between, close, entry, used, why
from stigma_api.temporal.histories import Run
from stigma_api.temporal.payloads import message, plain

_LOCAL_ACTIVITY = "core_local_activity"


class Work:
    """Follows the activities and the child workflow of one run."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client = client
        self._run = run
        self.entries: list[TimelineEntry] = []
        self.usage = Usage()
        self.newest_token = b""
        """Of the attempt that is delivered to: a local activity's input is in no history."""
        self._by_event: dict[int, TimelineEntry] = {}
        self._by_activity: dict[str, TimelineEntry] = {}
        self._looks: set[int] = set()
        self._step = 0
        self._model = ""

    async def take(self, event: HistoryEvent) -> None:
        """Take the next event in."""
        name = event.WhichOneof("attributes") or ""
        attributes = getattr(event, name, None)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            await self._scheduled(event)
        elif event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
            await self._marked(event)
        elif event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            self._engine_asked(event)
        elif name.startswith("activity_task_"):
            await self._activity(event, attributes)
        elif "child_workflow_execution" in name:
            self._engine(event, attributes)

    def take_pending(self, pending: Iterable[PendingActivityInfo]) -> None:
        """Take in what no history has yet: the attempts of activities under way."""
        for each in pending:
            about = self._by_activity.get(each.activity_id)
            if about is None or not about.open:
                continue
            about.attempt = max(each.attempt, 1)
            if each.HasField("last_failure"):
                about.detail = f"last attempt: {why(each.last_failure)}"

    def give_up(self, end: HistoryEvent) -> None:
        """Take in that the execution ended: nobody hears what comes of the rest."""
        for about in self.entries:
            if about.open:
                close(about, end, "given up", failed=True)

    async def _scheduled(self, event: HistoryEvent) -> None:
        attributes = event.activity_task_scheduled_event_attributes
        match attributes.activity_type.name:
            case name if name == CALL_MODEL:
                await self._count(attributes.input.payloads)
                step = TimelineStep.TIMELINE_STEP_MODEL_CALL
                added = self._add(step, event, f"model call {self._step}, {self._model}", open=True)
            case name if name in DELIVERIES:
                content = attributes.input.payloads
                delivery = await message(self._client, content, DeliverCallbackRequest)
                added = self._add(
                    TimelineStep.TIMELINE_STEP_DELIVERED,
                    event,
                    "delivering",
                    fingerprint=_target(delivery),
                    open=True,
                )
            case name:
                if name == WATCH_CALLER:
                    self._looks.add(event.event_id)
                return
        self._by_event[event.event_id] = added
        self._by_activity[attributes.activity_id] = added

    async def _count(self, content: Iterable[Payload]) -> None:
        """Count on from the first call of a run: reading each whole conversation takes long."""
        if self._step:
            self._step += 1
            return
        call = await message(self._client, content, ModelCallRequest)
        self._step, self._model = call.step, call.model

    async def _activity(self, event: HistoryEvent, attributes: Any) -> None:
        completed = event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        if completed and attributes.scheduled_event_id in self._looks:
            await self._caller_lost(event)
        about = self._by_event.get(attributes.scheduled_event_id)
        if about is None:
            return
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                about.attempt = attributes.attempt
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                await self._answered(about, event)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
                _failed(about, event, "cancelled")
            case (
                EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
                | EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
            ):
                _failed(about, event, why(attributes.failure))

    async def _answered(self, about: TimelineEntry, event: HistoryEvent) -> None:
        result = event.activity_task_completed_event_attributes.result.payloads
        if about.step == TimelineStep.TIMELINE_STEP_DELIVERED:
            close(about, event)
            _judge(about, await message(self._client, result, DeliverCallbackResponse))
            return
        usage = (await message(self._client, result, ModelCallResponse)).usage
        self.usage.input_tokens += usage.input_tokens
        self.usage.output_tokens += usage.output_tokens
        self.usage.cost_usd += usage.cost_usd
        self.usage.model_calls += 1
        close(about, event, used(usage))

    async def _caller_lost(self, event: HistoryEvent) -> None:
        result = event.activity_task_completed_event_attributes.result.payloads
        verdict = (await message(self._client, result, WatchCallerResponse)).verdict
        asked = verdict == CALLER_VERDICT_CANCEL_REQUESTED
        title = "the caller asks to stop" if asked else "the caller is gone"
        self._add(TimelineStep.TIMELINE_STEP_CANCEL_REQUESTED, event, title)

    async def _marked(self, event: HistoryEvent) -> None:
        """Tell a delivery by a local activity, which has one event once it is over."""
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return
        told = await plain(self._client, marker.details["data"].payloads)
        if told.get("activity_type") not in DELIVERIES:
            return
        about = self._add(
            TimelineStep.TIMELINE_STEP_DELIVERED,
            event,
            "delivering",
            attempt=int(told.get("attempt") or 1),
            fingerprint=tokens.fingerprint(self.newest_token),
        )
        begun, over = (
            _moment(told.get("original_schedule_time")),
            _moment(told.get("complete_time")),
        )
        if begun is not None and over is not None:
            time, took = between(begun, over)
            about.time.CopyFrom(time)
            if took.ToMilliseconds():
                about.duration.CopyFrom(took)
        if marker.HasField("failure"):
            about.title, about.detail, about.failed = "not delivered", "tried again", True
            return
        result = marker.details["result"].payloads
        response = await message(self._client, result, DeliverCallbackResponse)
        # 0.1.0 did not say; there it is the newest but for an oddity of the caller.
        about.fingerprint = response.fingerprint or about.fingerprint
        _judge(about, response)

    def _engine_asked(self, event: HistoryEvent) -> None:
        child = event.start_child_workflow_execution_initiated_event_attributes
        title = f"the engine runs {child.workflow_type.name}"
        added = self._add(TimelineStep.TIMELINE_STEP_ENGINE_RUN, event, title, open=True)
        # Its own history says more: that is where to look.
        added.workflow_id, added.run_id = child.workflow_id, ""
        self._by_event[event.event_id] = added

    def _engine(self, event: HistoryEvent, attributes: Any) -> None:
        about = self._by_event.get(attributes.initiated_event_id)
        if about is None:
            return
        match event.event_type:
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                about.run_id = attributes.workflow_execution.run_id
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
                close(about, event)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
                close(about, event, why(attributes.failure), failed=True)
            case other:
                how = EventType.Name(other).rpartition("_EXECUTION_")[2]
                close(about, event, how.lower().replace("_", " "), failed=True)

    def _add(
        self, step: TimelineStep.ValueType, event: HistoryEvent, title: str, **more: Any
    ) -> TimelineEntry:
        added = entry(step, self._run, event.event_time, title, **more)
        self.entries.append(added)
        return added


def _target(delivery: DeliverCallbackRequest) -> str:
    """Return the fingerprint of the attempt that a delivery is for."""
    if delivery.token:
        return tokens.fingerprint(delivery.token)
    of_workflow = delivery.HasField("workflow_execution")
    execution = delivery.workflow_execution if of_workflow else delivery.execution
    return execution.status.callback.fingerprint


def _judge(about: TimelineEntry, answer: DeliverCallbackResponse) -> None:
    match answer.verdict:
        case verdict if verdict == DELIVERY_VERDICT_DELIVERED:
            about.title = "delivered"
        case verdict if verdict == DELIVERY_VERDICT_NOT_FOUND:
            about.title, about.detail = "not delivered", "this attempt does not wait any more"
        case _:
            about.title, about.detail, about.failed = "not delivered", answer.message, True


def _failed(about: TimelineEntry, event: HistoryEvent, reason: str) -> None:
    close(about, event, reason, failed=True)
    if about.step == TimelineStep.TIMELINE_STEP_DELIVERED:
        about.title = "not delivered"


def _moment(told: Any) -> datetime | None:
    """Read a time as the SDK writes it into a local activity's marker."""
    try:
        since = timedelta(seconds=told["seconds"], microseconds=told["nanos"] // 1000)
        return datetime.fromtimestamp(0, UTC) + since
    except (TypeError, KeyError, OverflowError):
        return None
