"""Agents that call tools which workers run: outcomes, limits and long conversations."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc.aio
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from stigma.agent.v1.agent_execution_service_pb2 import (
    CANCEL_MODE_AFTER_STEP,
    CancelAgentExecutionRequest,
)
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.reliability.calls import events
from tests.reliability.documents import HEADER
from tests.stack.waiting import eventually
from tools.histories.agents import DONE, Agents, agent, call, calls
from tools.histories.outside import NEXUS_ENDPOINT
from tools.histories.scenario import Recorder, Scenario

_CHILD_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED


async def tools_of_each_kind(record: Recorder) -> None:
    """Calls side by side of an activity, a workflow and a Nexus operation: some fail."""
    agents = Agents(record.stack)
    nexus = {"endpoint": NEXUS_ENDPOINT, "service": "rates", "operation": "convert"}
    spec = agent(
        calls(call("act", value="one"), call("book", room=7), call("convert", amount=3)),
        calls(call("act", how="fail"), call("book", how="fail"), call("convert", how="fail")),
        DONE,
        tools=[
            agents.act(retrySafe=True),
            {"name": "book", "workflow": {"type": "book", "taskQueue": agents.queue}},
            {"name": "convert", "nexus": nexus},
        ],
    )
    execution_id = await agents.start(spec)
    await record.agent("tools", execution_id)


async def tool_document(record: Recorder) -> None:
    """A registered document as a tool, which is a workflow of the engine."""
    agents = Agents(record.stack)
    await _register_total(record)
    spec = agent(
        calls(call("total", price=3)),
        DONE,
        tools=[{"name": "total", "workflow": {"name": "total"}}],
    )
    await record.agent("tool-document", await agents.start(spec))


async def _register_total(record: Recorder) -> None:
    document = HEADER + "do: [{sum: {set: {total: '${ .price * 2 }'}}}]\n"
    workflow = Workflow(name="total", spec=WorkflowSpec(document=document))
    request = ApplyWorkflowRequest(workflow=workflow)
    await WorkflowServiceStub(record.stack.channel).ApplyWorkflow(request)


async def tool_retried(record: Recorder) -> None:
    """A call that fails once, and one that has only one attempt."""
    agents = Agents(record.stack)
    spec = agent(
        calls(call("act", how="fail once", value="after all"), call("once", how="fail once")),
        DONE,
        tools=[
            agents.act(retrySafe=True, attempts=3),
            agents.act() | {"name": "once"},
        ],
    )
    await record.agent("tool-retried", await agents.start(spec))


async def tools_one_by_one(record: Recorder) -> None:
    """Calls that may not run side by side, and a result that is cut."""
    agents = Agents(record.stack)
    spec = agent(
        calls(call("act", value="one"), call("act", how="large", size=5000)),
        DONE,
        tools=[agents.act(sequential=True, maxResultBytes=1024)],
    )
    await record.agent("tools-one-by-one", await agents.start(spec))


async def tool_cancelled(record: Recorder) -> None:
    """The execution is cancelled while a call runs."""
    agents = Agents(record.stack)
    spec = agent(calls(call("act", how="wait")), DONE, tools=[agents.act(heartbeatTimeout="5s")])
    execution_id = await agents.start(spec)
    await _until_called(record, execution_id)
    cancel = CancelAgentExecutionRequest(id=execution_id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.agent("tool-cancelled", execution_id)


async def stopped_after_step(record: Recorder) -> None:
    """The execution is cancelled after the calls under way."""
    agents = Agents(record.stack)
    spec = agent(calls(call("book", how="wait")), DONE, tools=[_slow_booking(agents)])
    execution_id = await agents.start(spec)
    await _until_called(record, execution_id)
    cancel = CancelAgentExecutionRequest(
        id=execution_id, reason="enough", mode=CANCEL_MODE_AFTER_STEP
    )
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.agent("stopped-after-step", execution_id)


def _slow_booking(agents: Agents) -> dict[str, Any]:
    workflow = {"type": "book", "taskQueue": agents.queue}
    return {"name": "book", "workflow": workflow, "policy": {"timeout": "3s"}}


async def _until_called(record: Recorder, execution_id: str) -> None:
    """Wait until a tool's activity or workflow is under way."""
    handle: WorkflowHandle[Any, Any] = record.stack.client.get_workflow_handle(execution_id)

    async def called() -> bool:
        for event in await events(handle):
            scheduled = event.activity_task_scheduled_event_attributes
            is_activity = scheduled.activity_type.name == "act"
            if is_activity or event.event_type == _CHILD_STARTED:
                return True
        return False

    await eventually(called, what="a call of a tool")


async def tools_continued_as_new(record: Recorder) -> None:
    """An agent with tools goes on in another run, and asks with its whole conversation."""
    agents = Agents(record.stack)
    steps = [calls(call("act", value=f"v{number}")) for number in range(10)]
    await record.agent(
        "tools-continued-as-new",
        await agents.start(agent(*steps, DONE, tools=[agents.act(retrySafe=True)])),
    )
    assert record.runs("tools-continued-as-new.agent") > 1


def _context_made_smaller(strategy: str) -> Callable[[Recorder], Awaitable[None]]:
    async def record_it(record: Recorder) -> None:
        agents = Agents(record.stack)
        large = {"inputTokens": "1000"}
        steps = [
            calls(call("act", value=letter * 100), text=f"step {letter}", usage=large)
            for letter in "abc"
        ]
        context = {"maxTokens": "900", "strategy": f"CONTEXT_STRATEGY_{strategy}", "keepSteps": 1}
        fields: dict[str, Any] = {"context": context}
        if strategy == "SUMMARIZE":
            context["summaryModel"] = "scripted:short"
            fields["allowedModels"] = ["scripted:short"]
        spec = agent(*steps, DONE, tools=[agents.act(retrySafe=True)], **fields)
        name = strategy.lower().replace("_", "-")
        await record.agent(f"context-{name}", await agents.start(spec))

    record_it.__name__ = f"context_{strategy.lower()}"
    return record_it


async def partial_text(record: Recorder) -> None:
    """Watchers see what the model writes."""
    spec = agent({"text": "one word after another", "chunkDelay": "0.02s"})
    execution_id = await Agents(record.stack).start(spec, partial_text=True)
    await record.agent("partial-text", execution_id)


async def price_checked(record: Recorder) -> None:
    """A start with a cost limit has the model's price checked: it is not known here."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await Agents(record.stack).start({"model": "unpriced:any", "limits": {"costUsd": 1.0}})
        raise AssertionError("a model without a price was taken with a cost limit")
    await record.of_type("price-check", "CheckModelPriceWorkflow")


def _limit(name: str, limits: Mapping[str, Any]) -> Callable[[Recorder], Awaitable[None]]:
    async def record_it(record: Recorder) -> None:
        agents = Agents(record.stack)
        usage = {"inputTokens": "600", "costUsd": 0.6}
        step = calls(call("act", value=1), call("act", value=2), usage=usage)
        spec = agent(step, step, DONE, tools=[agents.act()], limits=limits)
        await record.agent(f"limit-{name}", await agents.start(spec))

    record_it.__name__ = f"limit_{name}"
    return record_it


SCENARIOS = (
    Scenario(tools_of_each_kind, ("tool: activity", "tool: workflow", "tool: nexus")),
    Scenario(tool_document, ("tool: document",)),
    Scenario(tool_retried, ("tool retried",)),
    Scenario(tools_one_by_one, ("tools one by one", "result cut")),
    Scenario(tool_cancelled, ("tool cancelled",)),
    Scenario(stopped_after_step, ("cancel after the step",)),
    Scenario(tools_continued_as_new, ("agent with tools continued as new",)),
    *(
        Scenario(_context_made_smaller(each), (f"context: {each}",))
        for each in ("FAIL", "CLEAR_RESULTS", "DROP", "SUMMARIZE")
    ),
    Scenario(partial_text, ("partial text",)),
    Scenario(price_checked, ("price check",)),
    Scenario(_limit("tool-calls", {"toolCalls": 3}), ("limit: tool_calls",)),
    Scenario(_limit("tokens", {"tokens": "1000"}), ("limit: tokens",)),
    Scenario(_limit("cost", {"costUsd": 1.0}), ("limit: cost_usd",)),
)
