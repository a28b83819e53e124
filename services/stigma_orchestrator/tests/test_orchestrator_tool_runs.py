"""Runs of agents with tools: their conversation, output, budget and continuation."""

from __future__ import annotations

import json
import uuid
from typing import Any

import nexusrpc.handler
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus

from services.stigma_orchestrator.tests.orchestration import until
from services.stigma_orchestrator.tests.tool_agents import (
    LAST,
    Ended,
    ToolAgents,
    answer,
    call,
    new_policy,
    tool,
)
from stigma.agent.v1.agent_pb2 import (
    AgentLimits,
    NexusTool,
    ScriptStep,
    ScriptToolCall,
    ScriptUsage,
    Tool,
    WorkflowTool,
)
from stigma.contracts import limits
from stigma.contracts.tools import OUTPUT_TOOL

SCHEMA = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


KINDS = ("ok", "fail", "bytes", "unknown tool", "malformed", "book", "book that fails")


def random_call(kind: str, value: int) -> ScriptToolCall:
    """A call that ends as its kind says."""
    match kind:
        case "unknown tool":
            return call("nope", value=value)
        case "malformed":
            return call(arguments='{"value":')
        case "book" | "book that fails":
            return call("book", value=value, how="fail" if kind != "book" else "")
    return call(how=kind, value=value)


@pytest.mark.tools_contract("the model is told what the workflow knows")
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=strategies.lists(
        strategies.lists(strategies.sampled_from(KINDS), min_size=1, max_size=6),
        min_size=1,
        max_size=limits.MAX_REFUSED_ANSWERS - 1,
    )
)
async def test_the_model_is_told_what_the_workflow_knows(
    agents: ToolAgents, batches: list[list[str]]
) -> None:
    script = [
        answer(*(random_call(kind, 10 * step + n) for n, kind in enumerate(batch)), text=f"{step}")
        for step, batch in enumerate(batches)
    ]
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    async with agents.tools_running():
        ended = await agents.run(*script, answer(text="done"), tools=[tool(), book])
    assert ended.text == "done"
    whole = list(ended.full.status.messages)
    for step in range(1, len(script) + 2):
        told = agents.model.conversations[ended.handle.id, step]
        assert told == whole[: len(told)]
        assert len(told) == 2 * step - 1
    for step, batch in enumerate(batches):
        message = agents.model.conversations[ended.handle.id, step + 2][-1]
        results = [part.tool_result for part in message.parts]
        assert [result.call_id for result in results] == [
            f"{step + 1}-{n + 1}" for n in range(len(batch))
        ]
        for n, (kind, result) in enumerate(zip(batch, results, strict=True)):
            if kind == "ok":
                assert result.content == str(10 * step + n)


def output(**value: object) -> ScriptToolCall:
    """A call that gives the output."""
    return call(OUTPUT_TOOL, json.dumps(value))


@pytest.mark.tools_contract("an output beside calls is taken only if they succeeded")
async def test_an_output_beside_calls_that_succeed_is_taken(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(value=1), output(n=5)), output_schema=SCHEMA)
    assert ended.phase == "COMPLETED"
    assert ended.execution.status.output.json == '{"n":5}'
    assert ended.outcomes == ["OK", "OK"]
    assert ended.execution.status.steps == 1


@pytest.mark.tools_contract("an output beside calls is taken only if they succeeded")
async def test_an_output_beside_a_failed_call_is_asked_for_again(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            answer(call(how="fail"), output(n=5)), answer(output(n=6)), output_schema=SCHEMA
        )
    assert ended.execution.status.output.json == '{"n":6}'
    assert ended.outcomes == ["ERROR", "REFUSED", "OK"]
    assert "1-1" in ended.results[1].content


@pytest.mark.tools_contract("three more answers for a valid output")
@pytest.mark.parametrize("wrong", [answer(output(n="x")), answer(text="no JSON")])
async def test_a_wrong_output_is_asked_for_three_times_again(
    agents: ToolAgents, wrong: ScriptStep
) -> None:
    ended = await agents.run(wrong, output_schema=SCHEMA)
    assert ended.phase == "FAILED INVALID_OUTPUT"
    assert ended.execution.status.steps == 1 + limits.OUTPUT_RETRIES


async def test_an_output_in_words_is_corrected(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            answer(call(value=1)),
            answer(text="five"),
            answer(call(value=2)),
            answer(text='{"n": 5}'),
            output_schema=SCHEMA,
        )
    assert ended.execution.status.output.json == '{"n":5}'
    said = [message.parts[0].text for message in ended.full.status.messages]
    assert said[4].startswith("The answer does not satisfy the output schema")


async def test_a_paused_answer_goes_on(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(text="…", pause=True), answer(call(value=1)), LAST)
    assert (ended.text, ended.execution.status.steps) == ("done: 1", 3)


@pytest.mark.tools_contract("limit of tokens")
async def test_no_call_starts_at_the_limit_of_tokens(agents: ToolAgents) -> None:
    used = ScriptUsage(input_tokens=50, output_tokens=50)
    async with agents.tools_running():
        ended = await agents.run(
            answer(call(value=1), usage=used), LAST, limits=AgentLimits(tokens=100)
        )
    assert ended.phase == "FAILED TOKEN_LIMIT"
    assert ended.execution.status.steps == 1
    assert len(agents.effects.calls) == 1


@pytest.mark.tools_contract("limit of cost")
async def test_no_call_starts_at_the_limit_of_cost(agents: ToolAgents) -> None:
    dear = answer(call(value=1), usage=ScriptUsage(cost_usd=0.6))
    async with agents.tools_running():
        ended = await agents.run(dear, dear, LAST, limits=AgentLimits(cost_usd=1.0))
    assert ended.phase == "FAILED COST_LIMIT"
    assert "$1.2000" in ended.execution.status.failure.message
    assert ended.execution.status.steps == 2


@pytest.mark.tools_contract("limit of steps")
async def test_no_step_beyond_the_limit(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(value=1)), limits=AgentLimits(steps=3))
    assert ended.phase == "FAILED STEP_LIMIT"
    assert len(agents.effects.calls) == 3


@pytest.mark.tools_contract("a cut stream is asked for again")
async def test_a_cut_stream_is_asked_for_again(agents: ToolAgents) -> None:
    cut = answer(call(value=1))
    cut.cut.attempts = 1
    async with agents.tools_running():
        ended = await agents.run(cut, LAST)
    assert ended.text == "done: 1"
    assert len(agents.effects.calls) == 1


@pytest.mark.tools_contract("the deadline reaches them")
async def test_the_deadline_stops_a_call(agents: ToolAgents) -> None:
    waits = tool(policy={"heartbeat_timeout": 5})
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="wait")), LAST, tools=[waits], timeout=5)
        assert ended.phase == "TIMED_OUT DEADLINE"
        await agents.effects.cancelled.wait()


@pytest.mark.tools_contract("continue-as-new carries the conversation")
async def test_a_large_conversation_is_carried_on(agents: ToolAgents) -> None:
    # Each result is a megabyte of history, of which the model is told 32 KiB.
    large = answer(call(how="large", size=1_000_000))
    async with agents.tools_running():
        ended = await agents.run(*[large] * 6, LAST, limits=AgentLimits(tool_calls=6))
    assert ended.phase == "COMPLETED"
    assert await runs(agents, ended) > 1
    assert ended.execution.status.steps == 7
    assert ended.execution.status.usage.tool_calls == 6
    assert [result.call_id for result in ended.results] == [f"{n}-1" for n in range(1, 7)]
    assert len({header["idempotency_key"] for header in agents.effects.headers}) == 6


@pytest.mark.tools_contract("a conversation too large to carry stays in its run")
async def test_what_is_too_large_to_carry_stays_in_its_run(agents: ToolAgents) -> None:
    wide = tool(policy={"max_result_bytes": limits.MAX_TOOL_RESULT_BYTES})
    large = answer(*[call(how="large", size=400_000)] * 6)
    async with agents.tools_running():
        ended = await agents.run(large, large, large, answer(text="done"), tools=[wide])
    assert ended.phase == "COMPLETED"
    assert await runs(agents, ended) == 1
    # A query's answer has a limit too: the oldest results are left out of it.
    assert ended.full.ByteSize() < limits.MAX_VIEW_BYTES + 100_000
    assert "left out" in ended.results[0].content
    assert ended.results[-1].content.startswith("xxx")


async def test_what_cannot_go_on_fails(monkeypatch: pytest.MonkeyPatch, agents: ToolAgents) -> None:
    monkeypatch.setattr(limits, "MAX_HISTORY_BYTES", 1)
    wide = tool(policy={"max_result_bytes": limits.MAX_TOOL_RESULT_BYTES})
    large = answer(*[call(how="large", size=400_000)] * 6)
    async with agents.tools_running():
        ended = await agents.run(large, large, large, answer(text="done"), tools=[wide])
    assert ended.phase == "FAILED TOO_LARGE"
    assert "the conversation" in ended.execution.status.failure.message


async def test_a_batch_adds_little_to_history(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(*[call(value="x" * 2_000)] * 20), LAST)
    sizes = [
        event.ByteSize()
        async for event in ended.handle.fetch_history_events()
        if event.activity_task_scheduled_event_attributes.activity_id.startswith("tool-")
    ]
    assert len(sizes) == 20
    assert max(sizes) < 2_000 + 1_024


async def test_a_reset_makes_calls_again_under_their_keys(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    script = [answer(call(value=1), call("book", room=2)), LAST]
    async with agents.tools_running():
        handle = await agents.start(agents.agent(script, tool(), book))
        ended = await agents.ended(handle)
        assert ended.outcomes == ["OK", "OK"]
        # Before the calls were made: after the first answer.
        answered = await until(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
        reset = await agents.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=agents.client.namespace,
                workflow_execution=WorkflowExecution(
                    workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
                ),
                workflow_task_finish_event_id=answered.event_id + 3,
                request_id=uuid.uuid4().hex,
            )
        )
        again = agents.client.get_workflow_handle(handle.id, run_id=reset.run_id)
        repeated = await agents.ended(again)
    assert repeated.outcomes == ["OK", "UNKNOWN"]
    assert "exists already" in repeated.results[1].content
    assert repeated.text.startswith("done: 1")
    keys = [header["idempotency_key"] for header in agents.effects.headers]
    assert keys == [f"{handle.id}/1-1"] * 2


async def runs(agents: ToolAgents, ended: Ended) -> int:
    """Return the number of runs of an execution."""
    count, run_id = 1, ended.handle.first_execution_run_id
    while True:
        run = agents.client.get_workflow_handle(ended.handle.id, run_id=run_id)
        if (await run.describe()).status != WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return count
        last = await until(run, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW)
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        count += 1


@nexusrpc.handler.service_handler(name="rates")
class Rates:
    """A Nexus service as a tool."""

    def __init__(self) -> None:
        self.headers: list[str] = []

    @nexusrpc.handler.sync_operation(name="convert")
    async def convert(
        self, context: nexusrpc.handler.StartOperationContext, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        self.headers.append(context.headers["stigma-call"])
        if arguments.get("how") == "fail":
            raise nexusrpc.OperationError(
                "no such currency", state=nexusrpc.OperationErrorState.FAILED
            )
        return {"converted": arguments}


async def new_endpoint(agents: ToolAgents) -> str:
    name = f"rates-{uuid.uuid4().hex[:8]}"
    target = EndpointTarget(
        worker=EndpointTarget.Worker(namespace=agents.client.namespace, task_queue=agents.queue)
    )
    await agents.client.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(spec=EndpointSpec(name=name, target=target))
    )
    return name


@pytest.mark.tools_contract("workflows and Nexus operations are tools")
async def test_a_nexus_operation_is_a_tool(agents: ToolAgents) -> None:
    nexus = NexusTool(endpoint=await new_endpoint(agents), service="rates", operation="convert")
    convert = Tool(name="convert", nexus=nexus)
    rates = Rates()
    async with agents.tools_running(nexus_service_handlers=[rates]):
        ended = await agents.run(
            answer(call("convert", amount=3), call("convert", how="fail")), LAST, tools=[convert]
        )
    assert ended.outcomes == ["OK", "ERROR"]
    assert json.loads(ended.results[0].content) == {"converted": {"amount": 3}}
    assert "no such currency" in ended.results[1].content
    assert {json.loads(header)["call"] for header in rates.headers} == {"1-1", "1-2"}


@pytest.mark.tools_contract("workflows and Nexus operations are tools")
async def test_an_operation_that_takes_too_long_may_have_happened(agents: ToolAgents) -> None:
    nexus = NexusTool(endpoint=await new_endpoint(agents), service="rates", operation="convert")
    convert = Tool(name="convert", nexus=nexus, policy=new_policy(timeout=1))
    ended = await agents.run(answer(call("convert", amount=3)), LAST, tools=[convert])
    assert ended.outcomes == ["UNKNOWN"]
    assert ended.results[0].content == (
        "The call took longer than 1 s. The call may have happened, even more than once: "
        "Temporal repeats a request that the operation does not answer."
    )
    assert ended.text == f"done: {ended.results[0].content}"
