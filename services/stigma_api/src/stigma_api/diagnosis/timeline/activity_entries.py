"""Entries of what an execution has others do: calls, the engine's run, deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflow.v1 import PendingActivityInfo

from stigma.agent.v1.agent_execution_pb2 import (
    TOOL_OUTCOME_OK,
    ToolOutcome,
    ToolResult,
    Usage,
)
from stigma.contracts import tokens
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallResponse,
    SummarizeResponse,
)
from stigma_api.diagnosis.timeline.entries import (
    add_attempts,
    add_usage,
    close,
    entry,
    span,
    usage_text,
)
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history_facts import Content, Fact, Step, StepProgress
from stigma_api.temporal.failures import failure_class
from stigma_api.temporal.histories import Run


class ActivityEntries:
    """The entries of one run's steps, and what its calls used."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.entries: list[TimelineEntry] = []
        self.usage = Usage()
        self._by_step: dict[int, TimelineEntry] = {}
        self._by_activity: dict[str, TimelineEntry] = {}

    async def add(self, fact: Fact, time: Timestamp, newest_token: bytes) -> None:
        """Add the run's next fact.

        Args:
            fact: any; those that are about no step change nothing.
            time: of its event.
            newest_token: of the attempt that asked last, which a local delivery may be for: its
                input is in no history.
        """
        match fact:
            case facts.LocalDelivery():
                await self._add_local_delivery(fact, time, newest_token)
            case facts.CallerLost(cancel_requested=requested):
                title = "the caller asks to stop" if requested else "the caller is gone"
                self._add(TimelineStep.TIMELINE_STEP_CANCEL_REQUESTED, time, title)
            case facts.StepReported(number=number, report=report):
                add_usage(self.usage, report.usage)
                title = f"its workflow told of step {number}, {report.step}"
                detail = usage_text(report.usage)
                self._add(TimelineStep.TIMELINE_STEP_REPORTED, time, title, detail=detail)
            case Step():
                await self._open(fact, time)
            case StepProgress() if (opened := self._by_step.get(fact.step.event_id)) is not None:
                await self._update(opened, fact, time)

    def add_pending(self, pending: Iterable[PendingActivityInfo]) -> None:
        """Add what no history has yet: the attempts of activities under way."""
        add_attempts(self._by_activity, pending)

    def close_open(self, time: Timestamp) -> None:
        """Close what is open when the execution ends: nobody hears what comes of it."""
        for opened in self.entries:
            if opened.open:
                is_tool_call = opened.step == TimelineStep.TIMELINE_STEP_TOOL_CALL
                close(opened, time, "CANCELLED" if is_tool_call else "given up", failed=True)

    async def _open(self, step: Step, time: Timestamp) -> None:
        match step:
            case facts.ModelCallStarted(number=number, model=model):
                title = f"model call {number}, {model}"
                added = self._add(TimelineStep.TIMELINE_STEP_MODEL_CALL, time, title, open=True)
            case facts.SummaryStarted(request=request):
                asked = await request.read()
                title = f"summary of the steps before {asked.before}, {asked.model}"
                added = self._add(TimelineStep.TIMELINE_STEP_MODEL_CALL, time, title, open=True)
            case facts.ToolCallStarted():
                added = await self._open_tool_call(step, time)
            case facts.DeliveryStarted(request=request):
                added = self._add(
                    TimelineStep.TIMELINE_STEP_DELIVERED,
                    time,
                    "delivering",
                    fingerprint=_target_fingerprint(await request.read()),
                    open=True,
                )
            case facts.EngineRunRequested(workflow_id=workflow_id, workflow_type=workflow_type):
                kind, title = (
                    TimelineStep.TIMELINE_STEP_ENGINE_RUN,
                    f"the engine runs {workflow_type}",
                )
                if step.agent_queue:
                    kind = TimelineStep.TIMELINE_STEP_RUNTIME
                    title = f"its workflow {workflow_type} runs on task queue {step.agent_queue}"
                added = self._add(kind, time, title, open=True)
                # Its own history says more: that is where to look.
                added.workflow_id, added.run_id = workflow_id, ""
            case _:
                return
        self._by_step[step.event_id] = added
        if step.activity_id:
            self._by_activity[step.activity_id] = added

    async def _update(self, opened: TimelineEntry, fact: StepProgress, time: Timestamp) -> None:
        match fact:
            case facts.AttemptStarted(attempt=attempt):
                opened.attempt = attempt
            case facts.EngineRunStarted(run_id=run_id) | facts.ToolRunStarted(run_id=run_id):
                opened.run_id = run_id
            case facts.EngineRunCompleted():
                close(opened, time)
            case facts.ModelCallCompleted() | facts.SummaryCompleted():
                await self._close_model_call(opened, fact, time)
            case facts.ToolCallEnded():
                await _close_tool_call(opened, fact, time)
            case facts.DeliveryCompleted(response=response):
                close(opened, time)
                _add_verdict(opened, await response.read())
            case facts.StepFailed(failure=failure, status=status):
                detail = failure_class(failure) if failure is not None else status
                close(opened, time, detail, failed=True)
                if opened.step == TimelineStep.TIMELINE_STEP_DELIVERED:
                    opened.title = "not delivered"

    async def _open_tool_call(self, step: facts.ToolCallStarted, time: Timestamp) -> TimelineEntry:
        title = _tool_call_title(step.call_id, await step.read_name())
        if step.execution_id:
            title = f"{title}: execution {step.execution_id}"
        else:
            where = f"task queue {step.queue}" if step.queue else f"Nexus endpoint {step.endpoint}"
            title = f"{title} on {where}"
        added = self._add(TimelineStep.TIMELINE_STEP_TOOL_CALL, time, title, open=True)
        if step.workflow_id:  # its own history says more
            added.workflow_id, added.run_id = step.workflow_id, ""
        self.usage.tool_calls += not step.goes_on
        return added

    async def _close_model_call(
        self,
        opened: TimelineEntry,
        fact: facts.ModelCallCompleted | facts.SummaryCompleted,
        time: Timestamp,
    ) -> None:
        content: Content[Any] = fact.response
        answer: ModelCallResponse | ConverseResponse | SummarizeResponse = await content.read()
        usage = Usage()
        usage.CopyFrom(answer.usage)
        usage.model_calls = 1
        add_usage(self.usage, usage)
        close(opened, time, usage_text(usage))
        for refused in answer.refused if isinstance(answer, ConverseResponse) else ():
            title = _tool_call_title(refused.call_id, refused.name)
            detail = _outcome_text(refused)
            step = TimelineStep.TIMELINE_STEP_TOOL_CALL
            self._add(step, time, title, detail=detail, failed=True)

    async def _add_local_delivery(
        self, delivery: facts.LocalDelivery, time: Timestamp, newest_token: bytes
    ) -> None:
        added = self._add(
            TimelineStep.TIMELINE_STEP_DELIVERED,
            time,
            "delivering",
            attempt=delivery.attempt,
            fingerprint=tokens.fingerprint(newest_token),
        )
        if delivery.start is not None and delivery.end is not None:
            start, duration = span(delivery.start, delivery.end)
            added.time.CopyFrom(start)
            if duration.ToMilliseconds():
                added.duration.CopyFrom(duration)
        if delivery.failed:
            added.title, added.detail, added.failed = "not delivered", "tried again", True
            return
        response = await delivery.response.read()
        # 0.1.0 did not say; there it is the newest but for an oddity of the caller.
        added.fingerprint = response.fingerprint or added.fingerprint
        _add_verdict(added, response)

    def _add(
        self, step: TimelineStep.ValueType, time: Timestamp, title: str, **fields: Any
    ) -> TimelineEntry:
        added = entry(step, self._run, time, title, **fields)
        self.entries.append(added)
        return added


def _tool_call_title(call_id: str, name: str) -> str:
    return f"tool call {call_id}, {name}" if name else f"tool call {call_id}"


def _outcome_text(result: ToolResult) -> str:
    """Return the name of an outcome; its number where unnamed. What it says is content."""
    if result.outcome not in ToolOutcome.values():
        return str(result.outcome)
    return ToolOutcome.Name(result.outcome).removeprefix("TOOL_OUTCOME_")


async def _close_tool_call(
    opened: TimelineEntry, fact: facts.ToolCallEnded, time: Timestamp
) -> None:
    result = await fact.read_result()
    if result is None:
        return  # the call goes on
    detail = _outcome_text(result)
    if fact.failure is not None and fact.failure.ByteSize():
        detail = f"{detail}, {failure_class(fact.failure)}"
    close(opened, time, detail, failed=result.outcome != TOOL_OUTCOME_OK)


def _target_fingerprint(delivery: DeliverCallbackRequest) -> str:
    """Return the fingerprint of the attempt that a delivery is for."""
    if delivery.token:
        return tokens.fingerprint(delivery.token)
    of_workflow = delivery.HasField("workflow_execution")
    execution = delivery.workflow_execution if of_workflow else delivery.execution
    return execution.status.callback.fingerprint


def _add_verdict(delivered: TimelineEntry, response: DeliverCallbackResponse) -> None:
    match response.verdict:
        case verdict if verdict == DELIVERY_VERDICT_DELIVERED:
            delivered.title = "delivered"
        case verdict if verdict == DELIVERY_VERDICT_NOT_FOUND:
            delivered.title = "not delivered"
            delivered.detail = "this attempt does not wait any more"
        case _:
            delivered.title, delivered.detail = "not delivered", response.message
            delivered.failed = True
