"""Tool calls in the history of an agent's run, decoded only as far as somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    HistoryEvent,
)
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    ToolCall,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import tool_results, tools
from stigma.contracts.activities import LATER_PARTS_OF_MCP_CALLS, MCP_CALLS, POLL_MCP_TASK
from stigma.contracts.history_events import read_result
from stigma.contracts.sub_agents import MEMO_EXECUTION
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, ConverseResponse
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history_facts import Content, Fact

_CHILD_REQUESTED = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
_ENDS = frozenset(
    {
        EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_FAILED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_CANCELED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT,
    }
)


class ToolCallReader:
    """Reads the tool calls of one run. Of calls whose answer was left out, names are empty.

    All calls of an answer end before the next model call: one answer is kept at a time.

    Args:
        client: decodes payloads.
        execution_id: of the agent's execution.
    """

    def __init__(self, client: Client, execution_id: str) -> None:
        self._client = client
        self._execution_id = execution_id
        self._input: Content[AgentWorkflowInput] | None = None
        self._tools: Mapping[str, Tool] = {}
        self._answer: Content[ConverseResponse] | None = None
        self._started: dict[int, facts.ToolCallStarted] = {}
        self._of_mcp: set[int] = set()
        """Ids of the events that started calls of MCP servers' tools, of the last answer."""
        self._may_go_on: dict[str, facts.ToolCallEnded] = {}
        """The last activity of calls of such tools, by call: the call may go on after it."""
        self._polls: set[int] = set()
        """Of those events, those that started polls of tasks."""

    def begin(self, run_input: Content[AgentWorkflowInput]) -> None:
        """Note the input of the run, which has the tools."""
        self._input = run_input

    def has_none(self) -> None:
        """Note that the agent has no tools; its input may be large."""
        self._input = None

    def answered(self, answer: Content[ConverseResponse]) -> None:
        """Note an answer, whose calls come next."""
        self._answer = answer
        self._may_go_on.clear()
        self._of_mcp.clear()
        self._polls.clear()

    async def left_open(self) -> Sequence[ToolResult]:
        """Return the results of the calls that had not ended when the execution did."""
        steps = {step.call_id: step for step in self._started.values()}
        for ended in self._may_go_on.values():
            if ended.step.call_id not in steps and await ended.read_result() is None:
                steps[ended.step.call_id] = ended.step
        calls = [
            ToolCall(call_id=step.call_id, name=await step.read_name()) for step in steps.values()
        ]
        return [tool_results.left_open(call) for call in calls]

    def read(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        """Return the fact about a tool call that an event records; None for any other event."""
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                call = tools.called_by_activity(attributes.activity_id)
                if attributes.activity_type.name in MCP_CALLS:
                    return self._start_of_mcp(event, call, attributes)
                return self._start(event, call, queue=attributes.task_queue.name)
            case EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED:
                call = tools.called_by_operation(attributes.nexus_header)
                return self._start(event, call, endpoint=attributes.endpoint)
            case _ if event.event_type == _CHILD_REQUESTED:
                call = tools.called_by_child(self._execution_id, attributes.workflow_id)
                queue, child = attributes.task_queue.name, attributes.workflow_id
                # Another workflow that a tool runs has an id of the same form.
                execution = child if MEMO_EXECUTION in attributes.memo.fields else ""
                where = {"queue": queue, "workflow_id": child, "execution_id": execution}
                return self._start(event, call, **where)
        return self._progress(event, attributes)

    def _start_of_mcp(self, event: HistoryEvent, call: str, attributes: Any) -> Fact | None:
        """Return the fact about an activity of a call, which may be a later one of it."""
        is_later = attributes.activity_type.name in LATER_PARTS_OF_MCP_CALLS
        if attributes.activity_type.name == POLL_MCP_TASK:
            self._polls.add(event.event_id)
        if is_later and call in self._may_go_on:
            self._started[event.event_id] = self._may_go_on[call].step
            return None
        return self._start(
            event, call, queue=attributes.task_queue.name, of_mcp=True, goes_on=is_later
        )

    def _start(
        self, event: HistoryEvent, call: str, *, of_mcp: bool = False, **where: Any
    ) -> Fact | None:
        if not call:
            return None
        activity_id = event.activity_task_scheduled_event_attributes.activity_id
        name = partial(self._name, call, self._answer)
        fact = facts.ToolCallStarted(event.event_id, activity_id, call, name, **where)
        self._started[event.event_id] = fact
        if of_mcp:
            self._of_mcp.add(event.event_id)
        return fact

    def _progress(self, event: HistoryEvent, attributes: Any) -> Fact | None:
        ids = (getattr(attributes, f"{what}_event_id", 0) for what in ("scheduled", "initiated"))
        started = next((each for each in ids if each in self._started), 0)
        if not started:
            return None
        step = self._started[started]
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                return facts.AttemptStarted(step, attributes.attempt)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                return facts.ToolRunStarted(step, attributes.workflow_execution.run_id)
            case _ if event.event_type in _ENDS:
                del self._started[started]
                goes_on = started in self._polls and _is_cancel(event)
                result = _no_result if goes_on else partial(self._result, step, event)
                ended = facts.ToolCallEnded(step, getattr(attributes, "failure", None), result)
                if step.event_id in self._of_mcp:
                    self._may_go_on[step.call_id] = ended
                return ended
        return None

    async def _name(self, call: str, answer: Content[ConverseResponse] | None) -> str:
        if answer is not None:
            parts = (await answer.read()).message.parts
        elif self._input is not None:  # the run before has left the turn open
            parts = (await self._input.read()).carried.turn.answer.message.parts
        else:
            return ""
        return next((p.tool_call.name for p in parts if p.tool_call.call_id == call), "")

    async def _result(self, step: facts.ToolCallStarted, ended: HistoryEvent) -> ToolResult | None:
        """Return the result of a call as the model is told; None where the call goes on."""
        call = ToolCall(call_id=step.call_id, name=await step.read_name())
        tool = (await self._all_tools()).get(call.name) or Tool(name=call.name)
        return await read_result(self._client.data_converter, call, tool, ended)

    async def _all_tools(self) -> Mapping[str, Tool]:
        if self._input is not None and not self._tools:
            self._tools = tools.by_name(tools.of_input(await self._input.read()))
        if self._answer is not None:
            self._input = None
        return self._tools


def _is_cancel(event: HistoryEvent) -> bool:
    return event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED


async def _no_result() -> None:
    """Read no result: after a poll that was cancelled the server is asked to cancel the task."""
