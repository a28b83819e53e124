"""Agents with tools of MCP servers: listed, called, asked by, and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    InputAnswer,
)
from stigma.contracts.activities import POLL_MCP_TASK
from tests.reliability.calls import events
from tests.stack.waiting import eventually
from tools.histories.agents import DONE, Agents, agent, call, calls
from tools.histories.scenario import Recorder, Scenario

EFFECTS = {"mcp": {"server": "fx"}}
ROOMS = {"mcp": {"server": "rooms"}}
FORM = InputAnswer(json='{"name": "Ann"}')


async def _start(
    record: Recorder, name: str, steps: Sequence[Mapping[str, Any]], tool: Mapping[str, Any]
) -> str:
    """Register an agent with a server's tools, which lists them, and start it."""
    agents = Agents(record.stack)
    await agents.apply(name, agent(*steps, DONE, tools=[tool]))
    return await agents.start(name)


async def mcp_called(record: Recorder) -> None:
    """Tools are listed where the agent is applied, checked where it begins, and called."""
    step = calls(call("describe", city="Berlin"), call("act", how="fail"), call("act", value="v"))
    await record.agent("mcp", await _start(record, "mcp", [step], EFFECTS))
    await record.of_type("mcp-listing", "ListMcpToolsWorkflow")


async def mcp_asks(record: Recorder) -> None:
    """A server asks for a form and a page of one call, and twice in another."""
    steps = [calls(call("book", how="two", value="v")), calls(call("book", how="twice", value="w"))]
    execution_id = await _start(record, "mcp-asks", steps, ROOMS)
    agents = Agents(record.stack)
    who, page = await agents.pending(execution_id, 2)
    await agents.submit(page, reply=InputAnswer(text="Done"))
    await agents.submit(who, reply=FORM)
    form = await agents.next_input(execution_id, who)
    await agents.submit(form, reply=FORM)
    size = await agents.next_input(execution_id, form)
    await agents.submit(size, reply=InputAnswer(json='{"size": 3, "late": true}'))
    await record.agent("mcp-asks", execution_id)


async def mcp_tasks(record: Recorder) -> None:
    """Calls that become tasks: one ends, one asks, one fails."""
    made = calls(call("work", value="v"), call("work", how="asks"), call("work", how="fail"))
    execution_id = await _start(record, "mcp-tasks", [made], ROOMS)
    agents = Agents(record.stack)
    [found] = await agents.pending(execution_id)
    await agents.submit(found, reply=FORM)
    await record.agent("mcp-tasks", execution_id)


async def mcp_task_cancelled(record: Recorder) -> None:
    """A task is cancelled with its execution."""
    execution_id = await _start(record, "mcp-endless", [calls(call("work", how="endless"))], ROOMS)
    handle: WorkflowHandle[Any, Any] = record.stack.client.get_workflow_handle(execution_id)

    async def polled() -> bool:
        scheduled = await events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        return any(
            event.activity_task_scheduled_event_attributes.activity_type.name == POLL_MCP_TASK
            for event in scheduled
        )

    await eventually(polled, what="a poll of the task")
    cancel = CancelAgentExecutionRequest(id=execution_id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.agent("mcp-task-cancelled", execution_id)


async def mcp_changed(record: Recorder) -> None:
    """A server's tools changed after the agent was applied: no model is called."""
    agents = Agents(record.stack)
    await agents.apply("mcp-changed", agent({"text": "never"}, tools=[EFFECTS]))
    await record.outside.servers["fx"].restart("changed")
    await record.agent("mcp-changed", await agents.start("mcp-changed"))


SCENARIOS = (
    Scenario(mcp_called, ("tool: mcp", "MCP tools listed")),
    Scenario(mcp_asks, ("MCP: ELICITATION", "MCP: AUTHORIZATION")),
    Scenario(mcp_tasks, ("MCP task", "MCP task asks")),
    Scenario(mcp_task_cancelled, ("MCP task cancelled",)),
    Scenario(mcp_changed, ("MCP tools changed",), alone=True),
)
