"""Agents that are workflows of their own, on the real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from services.stigma_orchestrator.tests.runtime_agents import Own, Plain
from services.stigma_orchestrator.tests.tool_agents import Ended, ToolAgents, answer, call
from services.stigma_orchestrator.tests.waiting_agents import People, refusal_of
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    PENDING_INPUT_KIND_QUESTION,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.agent.v1.agent_pb2 import Agent, AgentLimits, AgentSpec, AgentTool, Runtime, Tool
from stigma.contracts import limits, search_attributes
from stigma.internal.v1.execution_pb2 import SubAgent
from stigma_orchestrator.agents.workflow import AgentWorkflow
from tests.stack.waiting import eventually


@pytest.fixture(autouse=True)
async def own_worker(agents: ToolAgents, foreign_client: Client) -> AsyncIterator[None]:
    """The worker of the workflows that are agents."""
    async with Worker(
        foreign_client,
        task_queue=f"{agents.queues.prefix}own",
        workflows=[Own, Plain],
    ):
        yield


def runtime_agent(agents: ToolAgents, kind: str = "Own", **fields: Any) -> AgentSpec:
    """An agent that is a workflow."""
    runtime = Runtime(workflow_type=kind, task_queue=f"{agents.queues.prefix}own")
    return AgentSpec(runtime=runtime, **fields)


async def start(agents: ToolAgents, what: Any, *, timeout: float = 60, **fields: Any) -> Any:
    """Start such an agent, with this as its input."""
    spec = fields.pop("spec", {})
    agent = runtime_agent(agents, **fields)
    spec["input_json"] = what if isinstance(what, str) else json.dumps(what)
    return await agents.start(agent, timeout=timeout, spec=spec)


async def run(agents: ToolAgents, what: Any, **fields: Any) -> Ended:
    """Run such an agent to its end."""
    return await agents.ended(await start(agents, what, **fields))


async def child_status(agents: ToolAgents, execution_id: str) -> str:
    """How the workflow stands that is the agent of an execution."""
    described = await agents.client.get_workflow_handle(f"{execution_id}-runtime").describe()
    assert described.status is not None
    return described.status.name


async def test_the_workflow_gets_the_task_and_its_text_is_the_output(agents: ToolAgents) -> None:
    ended = await run(agents, {"value": "bonjour"})
    assert (ended.phase, ended.text) == ("COMPLETED", "bonjour")
    assert not ended.execution.status.output.json
    text = '{"how": "argument", "large": 12345678901234567890, "float": 1.0}'
    spec = {"env": {"REGION": "eu"}}
    ended = await run(
        agents, text, env=["REGION"], limits=AgentLimits(steps=3, tokens=9), spec=spec
    )
    argument = json.loads(ended.execution.status.output.json)
    assert argument.pop("deadline").endswith("Z")
    assert argument == {
        "execution_id": ended.handle.id,
        "message": "Help me.",
        "input": {"how": "argument", "large": 12345678901234567890, "float": 1.0},
        "env": {"REGION": "eu"},
        "session_id": "session-1",
        "limits": {"steps": 3, "tool_calls": 500, "tokens": 9, "cost_usd": None},
    }


@pytest.mark.tools_contract("an agent that is a workflow: its result is checked, its failure told")
async def test_the_output_is_checked_against_the_schema(agents: ToolAgents) -> None:
    schema = json.dumps({"type": "object", "required": ["total"]})
    ended = await run(agents, {"value": {"total": 1}}, output_schema=schema)
    assert (ended.phase, ended.execution.status.output.json) == ("COMPLETED", '{"total":1}')
    ended = await run(agents, {"value": {"sum": 1}}, output_schema=schema)
    assert ended.phase == "FAILED INVALID_OUTPUT"
    failure = ended.execution.status.failure
    assert failure.message.endswith(
        "breaks the rule 'required' of its schema at $: total is missing"
    )
    assert failure.step == "runtime"


async def test_a_result_that_is_too_large_or_no_json_is_no_output(agents: ToolAgents) -> None:
    ended = await run(agents, {"how": "large", "size": limits.MAX_OUTPUT_BYTES})
    assert ended.phase == "FAILED TOO_LARGE"
    assert ended.execution.status.output.truncated
    ended = await run(agents, {"how": "bytes"})
    assert ended.phase == "FAILED INVALID_OUTPUT"
    problem = "the result is encoded 'binary/plain', which is not json/plain"
    assert ended.execution.status.failure.message == problem


@pytest.mark.tools_contract("an agent that is a workflow: its result is checked, its failure told")
async def test_a_failure_of_the_workflow_is_the_agents(agents: ToolAgents) -> None:
    ended = await run(agents, {"how": "fail"})
    assert ended.phase == "FAILED WORKFLOW_ERROR"
    message = ended.execution.status.failure.message
    assert message.startswith("Broken: xxx")
    assert len(message.encode()) == limits.MAX_TOOL_ERROR_BYTES


@pytest.mark.tools_contract(
    "an agent that is a workflow: a report counts once, and a limit ends it"
)
async def test_reports_count_once_and_are_the_conversation(agents: ToolAgents) -> None:
    used = {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25, "tool_calls": 2}
    ended = await run(agents, {"reports": [used, used], "repeated": [1, 2, 2]})
    status = ended.full.status
    assert (ended.phase, status.steps) == ("COMPLETED", 2)
    assert (status.usage.input_tokens, status.usage.output_tokens) == (20, 10)
    assert (status.usage.cost_usd, status.usage.tool_calls) == (0.5, 4)
    assert [m.parts[0].text for m in status.messages] == ["Help me.", "did 1", "did 2"]


@pytest.mark.tools_contract(
    "an agent that is a workflow: a report counts once, and a limit ends it"
)
@pytest.mark.parametrize(
    ("given", "reports", "reason"),
    [
        (AgentLimits(steps=2), [{}] * 3, "STEP_LIMIT"),
        (AgentLimits(tokens=30), [{"input_tokens": 20, "output_tokens": 11}], "TOKEN_LIMIT"),
        (AgentLimits(cost_usd=0.1), [{"cost_usd": 0.2}], "COST_LIMIT"),
        (AgentLimits(cost_usd=0.1), [{"input_tokens": 1}], "COST_LIMIT"),
        (AgentLimits(tool_calls=1), [{"tool_calls": 2}], "TOOL_CALL_LIMIT"),
    ],
)
async def test_over_a_limit_the_execution_ends_and_its_workflow_is_cancelled(
    agents: ToolAgents, given: AgentLimits, reports: list[Any], reason: str
) -> None:
    ended = await run(agents, {"reports": reports, "how": "wait"}, limits=given)
    assert ended.phase == f"FAILED {reason}"
    assert ended.execution.status.failure.step == f"step {len(reports)}"

    async def cancelled() -> bool:
        return await child_status(agents, ended.handle.id) == "CANCELED"

    await eventually(cancelled, what="the end of the workflow")


async def test_a_workflow_that_goes_on_reporting_over_a_limit_ends(agents: ToolAgents) -> None:
    """The failure of its signal and the cancel reach it together."""
    ended = await run(agents, {"reports": [{}] * 20}, limits=AgentLimits(steps=2))
    assert ended.phase == "FAILED STEP_LIMIT"

    async def closed() -> bool:
        return await child_status(agents, ended.handle.id) in {"CANCELED", "FAILED"}

    await eventually(closed, what="the end of the workflow")


async def test_at_a_limit_the_workflow_may_end(agents: ToolAgents) -> None:
    reports = [{"input_tokens": 10, "cost_usd": 0.1}]
    within = AgentLimits(steps=1, tokens=10, cost_usd=0.1)
    assert (await run(agents, {"reports": reports}, limits=within)).phase == "COMPLETED"


@pytest.mark.tools_contract("an agent that is a workflow: people answer what it asks")
async def test_a_question_is_answered_by_people(agents: ToolAgents) -> None:
    schema = {"type": "object"}
    people = People(await start(agents, {"ask": ["How much?", "When?"], "schema": schema}))
    # At once, they come in any order.
    second, first = sorted(await people.pending(2), key=lambda each: each.question, reverse=True)
    assert {first.id, second.id} == {"question-0-1", "question-0-2"}
    assert (first.kind, first.question) == (PENDING_INPUT_KIND_QUESTION, "How much?")
    assert json.loads(first.schema) == schema
    execution = await people.handle.query(AgentWorkflow.execution)
    assert execution.status.phase == AGENT_EXECUTION_PHASE_INPUT_REQUIRED
    described = await people.handle.describe()
    assert described.typed_search_attributes.get(search_attributes.PHASE) == "INPUT_REQUIRED"
    resolution = await people.submit(second, reply=InputAnswer(json='{"day": 1}'), request_id="a")
    assert resolution == await people.submit(
        second, reply=InputAnswer(json='{"day": 1}'), request_id="a"
    )
    await people.reply(first, "plenty")
    ended = await agents.ended(people.handle)
    assert json.loads(ended.execution.status.output.json) == ["plenty", {"day": 1}]
    described = await people.handle.describe()
    assert described.typed_search_attributes.get(search_attributes.PHASE) is None
    assert described.typed_search_attributes.get(search_attributes.WAITING_SINCE) is None


@pytest.mark.tools_contract("an agent that is a workflow: people answer what it asks")
async def test_a_question_may_be_declined_or_expire(agents: ToolAgents) -> None:
    people = People(await start(agents, {"ask": ["Who?"]}))
    [found] = await people.pending()
    await people.decline(found, "nobody knows")
    ended = await agents.ended(people.handle)
    assert ended.phase == "FAILED WORKFLOW_ERROR"
    assert ended.execution.status.failure.message == "INPUT_DECLINED: nobody knows"
    ended = await run(agents, {"ask": ["Who?"], "wait": 0.3})
    assert ended.execution.status.failure.message == "INPUT_EXPIRED: nobody answered in time"


async def test_more_questions_than_fit_are_refused(agents: ToolAgents) -> None:
    asked = [f"{number}?" for number in range(limits.MAX_RUNTIME_INPUTS + 1)]
    ended = await run(agents, {"ask": asked})
    assert ended.phase == "FAILED WORKFLOW_ERROR"
    message = "INPUT_REFUSED: 20 inputs are waited for already"
    assert ended.execution.status.failure.message == message
    described = await ended.handle.describe()
    assert described.typed_search_attributes.get(search_attributes.WAITING_SINCE) is None


async def test_a_workflow_without_a_line_of_ours(agents: ToolAgents) -> None:
    report = {"id": "1", "step": "look", "text": "found", "usage": {"input_tokens": 3}}
    request = {"id": "q", "question": "Go on?", "schema": {"type": "string"}}
    what = {"reports": [report, report], "request": request}
    people = People(await start(agents, what, kind="Plain"))
    [found] = await people.pending()
    await people.reply(found, "yes")
    ended = await agents.ended(people.handle)
    told = json.loads(ended.execution.status.output.json)
    assert told == {"id": "q", "outcome": "ANSWERED", "answer": "yes", "by": "bob"}
    usage = ended.full.status.usage
    assert (usage.model_calls, usage.input_tokens, usage.unpriced_calls) == (1, 3, 1)


async def test_signals_are_bounded(agents: ToolAgents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RUNTIME_SIGNALS", 3)
    ended = await run(agents, {"reports": [{}], "repeated": [1, 1, 1], "how": "wait"})
    assert ended.phase == "FAILED TOO_LARGE"
    assert ended.execution.status.failure.message == "the workflow sent more than 3 signals"
    agents.started.clear()  # its replay would have another bound


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ({"reports": ["hello"]}, "a report must be one json/plain object"),
        ({"reports": [{"step": "x"}]}, "id of a report must be a text of 1 to 128 bytes"),
        (
            {"reports": [{"id": "1", "usage": {"input_tokens": -1}}]},
            "usage.input_tokens of a report must be an integer from 0",
        ),
        (
            {"request": {"id": "1"}},
            "question of a request of input must be a text of 1 to 65536 bytes",
        ),
    ],
)
async def test_what_cannot_be_read_ends_the_execution(
    agents: ToolAgents, what: Any, problem: str
) -> None:
    ended = await run(agents, {"how": "wait", **what}, kind="Plain")
    assert ended.phase == "FAILED INVALID_REQUEST"
    assert ended.execution.status.failure.message == problem


@pytest.mark.tools_contract("an agent that is a workflow: a cancel and the deadline reach it")
async def test_a_cancel_and_the_deadline_reach_the_workflow(agents: ToolAgents) -> None:
    handle = await start(agents, {"how": "wait"})
    await eventually(lambda: _exists(agents, handle.id), what="the workflow")
    await handle.cancel()
    ended = await agents.ended(handle)
    assert ended.phase == "CANCELLED CANCELLED"
    assert await child_status(agents, handle.id) == "CANCELED"
    ended = await run(agents, {"how": "wait"}, timeout=4)
    assert ended.phase == "TIMED_OUT DEADLINE"
    assert await child_status(agents, ended.handle.id) == "CANCELED"


async def _exists(agents: ToolAgents, execution_id: str) -> bool:
    try:
        return bool(await child_status(agents, execution_id))
    except RPCError:
        return False


async def test_an_end_from_outside_is_told_as_such(agents: ToolAgents) -> None:
    handle = await start(agents, {"how": "wait"})
    await eventually(lambda: _exists(agents, handle.id), what="the workflow")
    await agents.client.get_workflow_handle(f"{handle.id}-runtime").terminate()
    assert (await agents.ended(handle)).phase == "FAILED TERMINATED"


async def test_messages_are_not_taken(agents: ToolAgents) -> None:
    people = People(await start(agents, {"ask": ["Who?"]}))
    await people.pending()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await people.send("hello")
    assert refusal_of(refused.value) == "MESSAGES_NOT_TAKEN"
    await people.handle.cancel()
    assert (await agents.ended(people.handle)).phase == "CANCELLED CANCELLED"


async def test_signals_to_an_agent_that_is_a_model_change_nothing(agents: ToolAgents) -> None:
    handle = await agents.start(agents.agent([answer(call(how="wait")), answer(text="done")]))
    async with agents.tools_running():
        await agents.effects.began.wait()
        await handle.signal("report", {"id": "1"})
        await handle.signal("request_input", {"id": "1"})
        agents.effects.released.set()
        ended = await agents.ended(handle)
    assert (ended.text, ended.execution.status.steps) == ("done", 2)


async def test_another_agent_calls_it_within_its_budget(agents: ToolAgents) -> None:
    called = runtime_agent(agents, limits=AgentLimits(steps=5))
    found = SubAgent(agent=Agent(name="own", version=1, spec=called))
    used = {"input_tokens": 7, "cost_usd": 0.5}
    tool = Tool(
        name="own",
        agent=AgentTool(agent="own"),
        input_schema=json.dumps({"type": "object"}),
    )
    lead = agents.agent(
        [answer(call("own", {"reports": [used], "value": "found it"})), answer(text="{results}")],
        tool,
    )
    ended = await agents.ended(await agents.start(lead, sub_agents={"own": found}))
    assert ended.text == "found it"
    usage = ended.execution.status.usage
    assert (usage.model_calls, usage.sub_agents, usage.cost_usd) == (3, 1, 0.5)
    child = agents.client.get_workflow_handle(f"{ended.handle.id}-1-1-runtime")
    assert (await child.describe()).status == WorkflowExecutionStatus.COMPLETED
