"""An execution's own part of its timeline, from the histories of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, Usage
from stigma.contracts import tokens
from stigma.contracts.executions import phase_name
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.diagnosis.timeline.activity_entries import ActivityEntries
from stigma_api.diagnosis.timeline.close_event import execution_end
from stigma_api.diagnosis.timeline.entries import add_usage, entry
from stigma_api.diagnosis.timeline.history_window import HistorySlice
from stigma_api.diagnosis.timeline.input_entries import InputEntries
from stigma_api.diagnosis.workflow_tasks import last_end
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history import HistoryReader
from stigma_api.executions.history_facts import Fact
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.histories import Run, cooperative_iter


@dataclass
class ExecutionPart:
    """What the runs of an execution record."""

    entries: list[TimelineEntry] = field(default_factory=list)
    binds: list[Bind] = field(default_factory=list)
    """Every attempt that was bound, the last one to ask last."""
    usage: Usage = field(default_factory=Usage)
    phase: str = ""
    """The terminal phase, once it has ended: it may do so after it was described."""


class ExecutionPartBuilder:
    """Builds the part of one execution from its runs, one after the other."""

    def __init__(self, client: Client, description: ExecutionDescription[Any]) -> None:
        self._client = client
        self._description = description
        self._part = ExecutionPart()
        self._inputs = InputEntries()
        self._known: set[bytes] = set()
        self._is_untaken = False
        self._final_usage: Usage | None = None

    async def build(self, slices: Iterable[HistorySlice]) -> ExecutionPart:
        """Return the part of these slices of history, which are in order."""
        activities: ActivityEntries | None = None
        newest: Sequence[HistoryEvent] = ()
        for each in slices:
            newest = each.events
            activities = ActivityEntries(each.run)
            reader = HistoryReader(
                self._client, self._description.execution_id, self._description.digest
            )
            async for event in cooperative_iter(each.events):
                fact = await reader.read(event)
                if fact is not None:
                    await self._add_fact(each.run, fact, event.event_time, activities)
            self._part.entries += activities.entries
            add_usage(self._part.usage, activities.usage)
        self._part.entries += self._inputs.entries
        if activities is not None:
            activities.add_pending(self._description.described.pending_activities)
        self._add_failing_task(newest)
        if self._final_usage is not None:
            self._part.usage.CopyFrom(self._final_usage)
        return self._part

    async def _add_fact(
        self, run: Run, fact: Fact, time: Timestamp, activities: ActivityEntries
    ) -> None:
        match fact:
            case facts.RunStarted():
                await self._add_start(run, fact, time)
            case facts.Bound(bind=bind):
                self._add_bind(run, bind, time)
            case facts.WorkflowTaskStarted() if self._is_untaken:
                self._is_untaken = False
                self._add(TimelineStep.TIMELINE_STEP_STARTED, run, time, "a worker took it")
            case facts.CancelRequested(reason=reason):
                step = TimelineStep.TIMELINE_STEP_CANCEL_REQUESTED
                self._add(step, run, time, "asked to stop", detail=reason)
            case facts.Closed():
                await self._add_end(run, fact, time)
                activities.close_open(time)
                self._inputs.close_open(time)
            case facts.InputsChanged() | facts.InputResolved() | facts.MessageSent():
                await self._inputs.add(run, fact, time)
            case _:
                binds = self._part.binds
                await activities.add(fact, time, binds[-1].token if binds else b"")

    async def _add_start(self, run: Run, fact: facts.RunStarted, time: Timestamp) -> None:
        if not fact.continued_run_id:
            self._is_untaken = True
            name = self._description.definition_id
            self._add(TimelineStep.TIMELINE_STEP_ACKNOWLEDGED, run, time, "accepted", detail=name)
            return
        is_agent = isinstance(self._description.execution, AgentExecution)
        if run.run_id == self._description.run_id and is_agent:
            # What came before may be past retention, or too much to read: it is carried along.
            carried = await fact.carried()
            self._part.usage.CopyFrom(carried.usage)
            for bind in carried.bindings:
                self._note_bind(bind)

    def _add_bind(self, run: Run, bind: Bind, time: Timestamp) -> None:
        if not self._note_bind(bind):
            return
        self._add(
            TimelineStep.TIMELINE_STEP_PENDING,
            run,
            time,
            "the caller's activity waits",
            attempt=tokens.parse(bind.token).attempt,
            fingerprint=tokens.fingerprint(bind.token),
        )

    def _note_bind(self, bind: Bind) -> bool:
        """Note an attempt as the newest; return whether it is a new one, and no replay."""
        is_new = bind.token not in self._known
        self._known.add(bind.token)
        others = [each for each in self._part.binds if each.token != bind.token]
        self._part.binds = [*others, bind]
        return is_new

    async def _add_end(self, run: Run, fact: facts.Closed, time: Timestamp) -> None:
        end = await execution_end(self._client, self._description.execution, fact.event)
        self._part.phase = phase_name(end.execution)
        if isinstance(end.execution, AgentExecution) and end.execution.status.HasField("usage"):
            self._final_usage = end.execution.status.usage
        step = TimelineStep.TIMELINE_STEP_ENDED
        self._add(step, run, time, end.title, detail=end.detail, failed=end.failed)

    def _add_failing_task(self, newest: Sequence[HistoryEvent]) -> None:
        """Add that the execution's own task fails: its retries leave no event in history.

        Args:
            newest: events of the current run, oldest first.
        """
        task = self._description.described.pending_workflow_task
        timeout = self._description.described.execution_config.default_workflow_task_timeout
        if task.attempt > 1 and not self._part.phase:
            self._add(
                TimelineStep.TIMELINE_STEP_TASK_FAILING,
                Run("", self._description.execution_id, self._description.run_id),
                task.original_scheduled_time,
                last_end(reversed(newest), timeout).text,
                attempt=task.attempt,
                failed=True,
                open=True,
            )

    def _add(
        self, step: TimelineStep.ValueType, run: Run, time: Timestamp, title: str, **fields: Any
    ) -> None:
        self._part.entries.append(entry(step, run, time, title, **fields))
