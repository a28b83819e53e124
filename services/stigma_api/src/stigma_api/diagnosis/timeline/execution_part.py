"""An execution's part of its timeline: told by the histories of its own runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Usage
from stigma.contracts import tokens
from stigma.contracts.executions import phase_name
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.diagnosis.timeline import close_event
from stigma_api.diagnosis.timeline.activity_entries import Work
from stigma_api.diagnosis.timeline.entries import entry
from stigma_api.diagnosis.timeline.history_window import Part
from stigma_api.executions import history
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.histories import Run, cooperative_iter


@dataclass
class Story:
    """What an execution's own runs tell."""

    entries: list[TimelineEntry] = field(default_factory=list)
    binds: list[Bind] = field(default_factory=list)
    """Every attempt that was bound, the last one to ask last."""
    usage: Usage = field(default_factory=Usage)
    phase: str = ""
    """The terminal phase, once it has ended: it may do so after it was described."""


class OwnStory:
    """Tells the runs of one execution, one after the other."""

    def __init__(self, client: Client, subject: ExecutionDescription[Any]) -> None:
        self._client = client
        self._subject = subject
        self._story = Story()
        self._known: set[bytes] = set()
        self._untouched = False
        self._totals: Usage | None = None

    async def tell(self, parts: Iterable[Part]) -> Story:
        """Return the story of these parts of runs, which are in order."""
        work: Work | None = None
        for part in parts:
            work = Work(self._client, part.run)
            async for event in cooperative_iter(part.events):
                await self._tell(part.run, event, work)
            self._story.entries += work.entries
            _add(self._story.usage, work.usage)
        if work is not None:
            work.take_pending(self._subject.described.pending_activities)
        self._tell_failing()
        if self._totals is not None:
            self._story.usage.CopyFrom(self._totals)
        return self._story

    async def _tell(self, run: Run, event: HistoryEvent, work: Work) -> None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                await self._accepted(run, event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                await self._signaled(run, event)
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED if self._untouched:
                self._untouched = False
                self._add(TimelineStep.TIMELINE_STEP_STARTED, run, event, "a worker took it")
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                step = TimelineStep.TIMELINE_STEP_CANCEL_REQUESTED
                cause = event.workflow_execution_cancel_requested_event_attributes.cause
                self._add(step, run, event, "asked to stop", detail=cause)
            case _ if close_event.closes(event):
                await self._ended(run, event, work)
            case _:
                work.newest_token = self._story.binds[-1].token if self._story.binds else b""
                await work.take(event)

    async def _accepted(self, run: Run, event: HistoryEvent) -> None:
        attributes = event.workflow_execution_started_event_attributes
        if not attributes.continued_execution_run_id:
            self._untouched = True
            name = self._subject.definition_id
            step = TimelineStep.TIMELINE_STEP_ACKNOWLEDGED
            self._add(step, run, event, "accepted", detail=name)
            return
        if run.run_id == self._subject.run_id and self._is_agent():
            # What came before may be past retention, or too much to read: it is carried along.
            carried = await history.carried(self._client, event)
            self._story.usage.CopyFrom(carried.usage)
            for bind in carried.bindings:
                self._bound(bind)

    async def _signaled(self, run: Run, event: HistoryEvent) -> None:
        bind = await history.signaled(self._client, event, self._subject.digest)
        if bind is None or not self._bound(bind):
            return  # another request under the same id, or the same attempt once more
        self._add(
            TimelineStep.TIMELINE_STEP_PENDING,
            run,
            event,
            "the caller's activity waits",
            attempt=tokens.parse(bind.token).attempt,
            fingerprint=tokens.fingerprint(bind.token),
        )

    def _bound(self, bind: Bind) -> bool:
        """Note an attempt; return whether it is a new one."""
        is_new = bind.token not in self._known
        self._known.add(bind.token)
        others = [each for each in self._story.binds if each.token != bind.token]
        self._story.binds = [*others, bind]
        return is_new

    async def _ended(self, run: Run, event: HistoryEvent, work: Work) -> None:
        end = await close_event.end(self._client, self._subject, event)
        ended = end.execution
        self._story.phase = phase_name(ended)
        if isinstance(ended, AgentExecution) and ended.status.HasField("usage"):
            self._totals = ended.status.usage
        step = TimelineStep.TIMELINE_STEP_ENDED
        self._add(step, run, event, end.title, detail=end.detail, failed=end.failed)
        work.give_up(event)

    def _tell_failing(self) -> None:
        """Tell that the execution's own code fails: trying again leaves no trace in history."""
        task = self._subject.described.pending_workflow_task
        if task.attempt > 1 and not self._story.phase:
            failing = entry(
                TimelineStep.TIMELINE_STEP_TASK_FAILING,
                Run("", self._subject.execution_id, self._subject.run_id),
                task.original_scheduled_time,
                "its code fails on this version",
                attempt=task.attempt,
                failed=True,
                open=True,
            )
            self._story.entries.append(failing)

    def _is_agent(self) -> bool:
        return isinstance(self._subject.execution, AgentExecution)

    def _add(
        self, step: TimelineStep.ValueType, run: Run, event: HistoryEvent, title: str, **more: Any
    ) -> None:
        self._story.entries.append(entry(step, run, event.event_time, title, **more))


def _add(total: Usage, usage: Usage) -> None:
    total.input_tokens += usage.input_tokens
    total.output_tokens += usage.output_tokens
    total.cost_usd += usage.cost_usd
    total.model_calls += usage.model_calls
