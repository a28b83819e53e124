"""Agents that call agents, and agents that are workflows of their author's."""

from __future__ import annotations

from typing import Any

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    InputAnswer,
    InputApproval,
)
from stigma.contracts import agent_runtime
from tests.reliability.caller_service import QUEUE, OwnAgent
from tools.histories.agents import ALWAYS, DONE, NEVER, Agents, agent, call, calls
from tools.histories.people import ASK
from tools.histories.scenario import Recorder, Scenario


def delegate(to: str, **budget: Any) -> dict[str, Any]:
    """A tool that is another agent."""
    return {"name": to, "agent": {"agent": to, "budget": budget}}


async def sub_agents(record: Recorder) -> None:
    """An agent calls two others: one without tools, one that waits for people."""
    agents = Agents(record.stack)
    await agents.apply("echo", agent({"text": "I heard {message}"}))
    worker = agent(
        calls(call("act", value="paid")),
        calls(call("ask", question="How many?")),
        DONE,
        tools=[agents.act(), ASK],
        rules=[{"tools": ["act"]} | ALWAYS, NEVER],
    )
    await agents.apply("clerk", worker)
    made = calls(call("echo", message="one"), call("clerk", message="go"))
    boss = agent(made, DONE, tools=[delegate("echo"), delegate("clerk", steps=5)])
    execution_id = await agents.start(boss)
    [approval] = await agents.pending(execution_id)
    approval.execution_id = execution_id  # answered at the root
    await agents.submit(approval, approve=InputApproval())
    question = await agents.next_input(execution_id, approval)
    question.execution_id = execution_id
    await agents.submit(question, reply=InputAnswer(text="three"))
    await record.agent("sub-agents", execution_id)
    await record.agent("sub-agents-plain", f"{execution_id}-1-1")
    await record.agent("sub-agents-waiting", f"{execution_id}-1-2")


async def sub_agents_limited(record: Recorder) -> None:
    """An agent below fails by its share of the limits."""
    agents = Agents(record.stack)
    await agents.apply("endless", agent({"text": "…", "pause": True}))
    made = calls(call("endless", message="a"), call("endless", message="b"))
    boss = agent(made, DONE, tools=[delegate("endless")], limits={"steps": 8})
    execution_id = await agents.start(boss)
    await record.agent("sub-agents-limited", execution_id)


async def sub_agents_too_deep(record: Recorder) -> None:
    """An agent below the deepest level may call none."""
    agents = Agents(record.stack)
    await agents.apply("leaf", agent({"text": "here"}))
    for name, below in (("level-3", "leaf"), ("level-2", "level-3")):
        spec = agent(calls(call(below, message="go")), DONE, tools=[delegate(below)])
        await agents.apply(name, spec)
    boss = agent(calls(call("level-2", message="go")), DONE, tools=[delegate("level-2")])
    execution_id = await agents.start(boss)
    await record.agent("sub-agents-deep", execution_id)
    await record.agent("sub-agents-deep-second", f"{execution_id}-1-1")


async def sub_agents_cancelled(record: Recorder) -> None:
    """A tree is cancelled at its root, while an agent below waits."""
    agents = Agents(record.stack)
    await agents.apply("asking", agent(calls(call("ask", question="Why?")), DONE, tools=[ASK]))
    boss = agent(calls(call("asking", message="go")), DONE, tools=[delegate("asking")])
    execution_id = await agents.start(boss)
    await agents.pending(execution_id)
    cancel = CancelAgentExecutionRequest(id=execution_id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.agent("sub-agents-cancelled", execution_id)
    await record.agent("sub-agents-cancelled-below", f"{execution_id}-1-1")


# --- agents that are workflows of their own


def _own(record: Recorder, **fields: Any) -> dict[str, Any]:
    runtime = {"workflowType": OwnAgent.__name__, "taskQueue": record.stack.prefix + QUEUE}
    return {"runtime": runtime, **fields}


async def _write_own(record: Recorder, name: str, execution_id: str) -> None:
    await record.agent(name, execution_id)
    await record.by_id(f"{name}.own", agent_runtime.child_id(execution_id))


async def own_agent(record: Recorder) -> None:
    """It tells of steps and asks; its output is checked."""
    agents = Agents(record.stack)
    spec = _own(record, outputSchema='{"type": "object", "required": ["said"]}')
    execution_id = await agents.start(spec, input_json='{"steps": 2, "ask": ["Which colour?"]}')
    [found] = await agents.pending(execution_id)
    await agents.submit(found, reply=InputAnswer(text="red"))
    await _write_own(record, "own-agent", execution_id)


async def own_agent_limited(record: Recorder) -> None:
    """It tells of more steps than it may take."""
    spec = _own(record, limits={"steps": 2})
    execution_id = await Agents(record.stack).start(spec, input_json='{"steps": 4}')
    await _write_own(record, "own-agent-limited", execution_id)


async def own_agent_cancelled(record: Recorder) -> None:
    """It is cancelled while it asks."""
    agents = Agents(record.stack)
    execution_id = await agents.start(_own(record), input_json='{"ask": ["Why?"]}')
    await agents.pending(execution_id)
    cancel = CancelAgentExecutionRequest(id=execution_id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await _write_own(record, "own-agent-cancelled", execution_id)


SCENARIOS = (
    Scenario(sub_agents, ("tool: agent", "input below the root")),
    Scenario(sub_agents_limited, ("limits of a tree",)),
    Scenario(sub_agents_too_deep, ("limit: depth",)),
    Scenario(sub_agents_cancelled, ("tree cancelled",)),
    Scenario(own_agent, ("own agent", "report", "own agent asks", "output checked")),
    Scenario(own_agent_limited, ("own agent over a limit",)),
    Scenario(own_agent_cancelled, ("own agent cancelled",)),
)
