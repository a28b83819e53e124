"""Agents that wait for people: approvals, questions, calls of clients' tools, messages."""

from __future__ import annotations

import json
from typing import Any

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    InputAnswer,
    InputApproval,
    InputDecline,
    InputDenial,
)
from tools.histories.agents import ALWAYS, DONE, NEVER, Agents, agent, call, calls
from tools.histories.scenario import Recorder, Scenario

ASK = {"name": "ask", "question": {}}
PRICE = {"name": "price", "client": {}, "inputSchema": '{"type": "object"}'}


async def approvals(record: Recorder) -> None:
    """One call is approved, one with other arguments, one denied."""
    agents = Agents(record.stack)
    rule = ALWAYS | {"allowEdit": True}
    made = [call("act", value=f"v{number}") for number in range(3)]
    spec = agent(calls(*made), DONE, tools=[agents.act()], rules=[rule])
    execution_id = await agents.start(spec)
    first, second, third = await agents.pending(execution_id, 3)
    await agents.submit(first, approve=InputApproval())
    edited = InputApproval(arguments_json=json.dumps({"value": "less"}))
    await agents.submit(second, approve=edited)
    await agents.submit(third, deny=InputDenial(reason="too dear"))
    await record.agent("approvals", execution_id)


async def approvals_by_rule(record: Recorder) -> None:
    """Rules with expressions: one call is made, one waits and is remembered, one is refused."""
    agents = Agents(record.stack)
    rules: list[dict[str, Any]] = [
        {"when": ".arguments.cents > 900", "require": "APPROVAL_REQUIREMENT_REFUSE"},
        {"when": ".arguments.cents > 500", "allowRemember": True} | ALWAYS,
        NEVER,
    ]
    step = calls(*(call("act", value=cents, cents=cents) for cents in (100, 600, 1000)))
    spec = agent(step, step, DONE, tools=[agents.act()], rules=rules)
    execution_id = await agents.start(spec)
    [found] = await agents.pending(execution_id)
    await agents.submit(found, approve=InputApproval(remember=True))
    await record.agent("approvals-by-rule", execution_id)


async def approvals_expired(record: Recorder) -> None:
    """Nobody approves: one call is not made, then the execution fails."""
    agents = Agents(record.stack)
    rules = [
        {"tools": ["act"], "expireAfter": "1s", "onExpiry": "APPROVAL_EXPIRY_DENY"} | ALWAYS,
        {"tools": ["must"], "expireAfter": "1s", "onExpiry": "APPROVAL_EXPIRY_FAIL"} | ALWAYS,
    ]
    spec = agent(
        calls(call("act", value="one")),
        calls(call("must", value="two")),
        DONE,
        tools=[agents.act(), agents.act() | {"name": "must"}],
        rules=rules,
    )
    await record.agent("approvals-expired", await agents.start(spec))


async def questions(record: Recorder) -> None:
    """Questions are answered and declined, and a client makes a call itself."""
    agents = Agents(record.stack)
    made = (
        call("ask", question="How many?", schema={"type": "integer"}),
        call("ask", question="Which colour?"),
        call("price", item="pen"),
    )
    execution_id = await agents.start(agent(calls(*made), DONE, tools=[ASK, PRICE]))
    number, colour, price = await agents.pending(execution_id, 3)
    await agents.submit(number, reply=InputAnswer(json="3"))
    await agents.submit(colour, decline=InputDecline(reason="none is free"))
    await agents.submit(price, reply=InputAnswer(json='{"cents": 5}'))
    await record.agent("questions", execution_id)


async def messages(record: Recorder) -> None:
    """Messages reach an agent that waits, and it asks again."""
    agents = Agents(record.stack)
    spec = agent(
        calls(call("ask", question="How many?")),
        calls(call("ask", question="Which colour?")),
        DONE,
        tools=[ASK],
    )
    execution_id = await agents.start(spec)
    [found] = await agents.pending(execution_id)
    await agents.send(execution_id, "Hurry.")
    await agents.submit(found, reply=InputAnswer(text="three"))
    second = await agents.next_input(execution_id, found)
    await agents.send(execution_id, "Red, if they ask.")
    await agents.submit(second, reply=InputAnswer(text="red"))
    await record.agent("messages", execution_id)


async def waiting_cancelled(record: Recorder) -> None:
    """The execution is cancelled while it waits."""
    agents = Agents(record.stack)
    execution_id = await agents.start(agent(calls(call("ask", question="Why?")), DONE, tools=[ASK]))
    await agents.pending(execution_id)
    cancel = CancelAgentExecutionRequest(id=execution_id, reason="enough")
    await record.stack.executions.CancelAgentExecution(cancel)
    await record.agent("waiting-cancelled", execution_id)


async def waiting_continued_as_new(record: Recorder) -> None:
    """An agent that is asked many things goes on in another run, with one question open."""
    agents = Agents(record.stack)
    steps = [calls(call("ask", question=f"And number {number}?")) for number in range(8)]
    execution_id = await agents.start(agent(*steps, DONE, tools=[ASK]))
    [found] = await agents.pending(execution_id)
    await agents.submit(found, reply=InputAnswer(text="yes"))
    for _ in steps[1:]:
        found = await agents.next_input(execution_id, found)
        await agents.submit(found, reply=InputAnswer(text="yes"))
    await record.agent("waiting-continued-as-new", execution_id)
    assert record.runs("waiting-continued-as-new.agent") > 1


SCENARIOS = (
    Scenario(approvals, ("approved", "approved with other arguments", "denied")),
    Scenario(approvals_by_rule, ("rules", "approval remembered", "call refused by rule")),
    Scenario(approvals_expired, ("input expired",)),
    Scenario(questions, ("tool: question", "tool: client", "declined")),
    Scenario(messages, ("message",)),
    Scenario(waiting_cancelled, ("waiting agent cancelled",)),
    Scenario(waiting_continued_as_new, ("waiting agent continued as new",)),
)
