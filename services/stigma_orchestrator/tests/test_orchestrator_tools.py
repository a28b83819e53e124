"""Agents call tools: every outcome and every limit, on the real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from services.stigma_orchestrator.tests.orchestration import until
from services.stigma_orchestrator.tests.tool_agents import (
    LAST,
    ToolAgents,
    answer,
    call,
    new_policy,
    tool,
)
from stigma.agent.v1.agent_pb2 import AgentLimits, ScriptToolCall, Tool, WorkflowTool
from stigma_orchestrator.agents.workflow import AgentWorkflow

BATCHES = pytest.mark.parametrize("count", [1, 3, 20])


@pytest.mark.tools_contract("results in the order of the calls")
@BATCHES
async def test_results_go_back_in_the_order_of_the_calls(agents: ToolAgents, count: int) -> None:
    calls = [call(value=f"v{n}") for n in range(count)]
    async with agents.tools_running():
        ended = await agents.run(answer(*calls), LAST)
    assert ended.text == "done: " + "\n".join(f"v{n}" for n in range(count))
    assert [result.call_id for result in ended.results] == [f"1-{n + 1}" for n in range(count)]
    assert ended.execution.status.usage.tool_calls == count
    assert ended.execution.status.usage_by_model["scripted:test"].tool_calls == count


@pytest.mark.tools_contract("the header says whose a call is")
async def test_a_call_says_whose_it_is(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(value=1), call(value=2)), LAST)
    assert sorted(agents.effects.headers, key=lambda header: header["call"])[1] == {
        "execution": ended.handle.id,
        "agent": "helper@3",
        "session": "session-1",
        "call": "1-2",
        "principal": "alice",
        "idempotency_key": f"{ended.handle.id}/1-2",
    }


@pytest.mark.tools_contract("no model call carries the conversation")
async def test_no_model_call_carries_the_conversation(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            *(answer(call(value="x" * 5_000)) for _ in range(3)), LAST, instructions="y" * 10_000
        )
    models = [size for name, kind, size in await ended.scheduled() if kind == "converse"]
    assert len(models) == 4
    assert max(models) < 1_000
    assert [name for name, *_ in await ended.scheduled()][:3] == ["model-1", "tool-1-1", "model-2"]
    assert ended.text == "done: " + "x" * 5_000


@pytest.mark.tools_contract("outcome ERROR: type and message of the error")
@BATCHES
async def test_an_error_is_told_with_its_type(agents: ToolAgents, count: int) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(*[call(how="fail")] * count), LAST)
    assert ended.outcomes == ["ERROR"] * count
    assert ended.results[0].content == "DiskFull: the disk is full"
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("a failed call is made once")
async def test_a_failed_call_is_not_made_again(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="fail once")), LAST)
    assert ended.outcomes == ["ERROR"]
    assert len(agents.effects.calls) == 1


@pytest.mark.tools_contract("a call that is safe to repeat is repeated, under one key")
async def test_a_call_that_is_safe_to_repeat_is(agents: ToolAgents) -> None:
    safe = tool(policy={"retry_safe": True})
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="fail once", value=7)), LAST, tools=[safe])
    assert (ended.outcomes, ended.results[0].content) == (["OK"], "7")
    assert [header["call"] for header in agents.effects.headers] == ["1-1", "1-1"]
    assert len({header["idempotency_key"] for header in agents.effects.headers}) == 1


@pytest.mark.tools_contract("outcome NOT_RUN: no worker took it in time")
@BATCHES
async def test_calls_that_no_worker_took_have_not_run(agents: ToolAgents, count: int) -> None:
    waiting = tool(policy={"start_timeout": 1})
    ended = await agents.run(answer(*[call()] * count), LAST, tools=[waiting])
    assert ended.outcomes == ["NOT_RUN"] * count
    assert ended.results[0].content == (
        f"No worker of task queue '{agents.queue}' took the call within 1 s. "
        "The call has not happened."
    )


@pytest.mark.tools_contract("outcome NOT_RUN: no worker took it in time")
async def test_a_call_that_may_wait_as_long_as_it_may_take_has_not_run(agents: ToolAgents) -> None:
    waiting = tool(policy={"start_timeout": 60, "timeout": 1})
    ended = await agents.run(answer(call()), LAST, tools=[waiting])
    assert ended.outcomes == ["NOT_RUN"]


@pytest.mark.tools_contract("outcome NOT_RUN: the worker has no such activity")
async def test_an_activity_that_the_worker_does_not_have_has_not_run(agents: ToolAgents) -> None:
    missing = tool(activity="missing")
    async with agents.tools_running():
        ended = await agents.run(answer(call()), LAST, tools=[missing])
    assert ended.outcomes == ["NOT_RUN"]
    assert ended.results[0].content == (
        f"The worker of task queue '{agents.queue}' has no activity 'missing'. "
        "The call has not happened."
    )


@pytest.mark.tools_contract("outcome UNKNOWN: no heartbeat")
@BATCHES
async def test_lost_calls_may_have_happened(agents: ToolAgents, count: int) -> None:
    watched = tool(policy={"heartbeat_timeout": 1})
    async with agents.tools_running():
        ended = await agents.run(answer(*[call(how="stuck")] * count), LAST, tools=[watched])
        assert ended.outcomes == ["UNKNOWN"] * count
        assert "may have happened" in ended.results[0].content
        assert len(agents.effects.calls) == count
        agents.effects.released.set()


@pytest.mark.tools_contract("outcome UNKNOWN: it took too long")
async def test_a_call_that_takes_too_long_may_have_happened(agents: ToolAgents) -> None:
    slow = tool(policy={"timeout": 3})
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="stuck")), LAST, tools=[slow])
        assert ended.outcomes == ["UNKNOWN"]
        assert ended.results[0].content == (
            "The call took longer than 3 s. The call may have happened. It was not repeated."
        )
        agents.effects.released.set()


@pytest.mark.tools_contract("outcome UNKNOWN: it took too long")
@pytest.mark.parametrize(
    ("timeouts", "told"),
    [
        ({"attempt_timeout": 0.5, "timeout": 30}, "An attempt of the call took longer than 0.5 s."),
        ({"attempt_timeout": 3, "timeout": 3.5}, "The call took longer than 3.5 s."),
    ],
    ids=["its attempts", "all of it"],
)
async def test_a_safe_call_that_takes_too_long_says_how_often_it_was_tried(
    agents: ToolAgents, timeouts: dict[str, float], told: str
) -> None:
    safe = tool(policy={"retry_safe": True, "attempts": 2, **timeouts})
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="stuck")), LAST, tools=[safe])
        assert ended.outcomes == ["UNKNOWN"]
        assert ended.results[0].content == (
            f"{told} The call may have happened, even more than once: it was tried up to 2 times."
        )
        agents.effects.released.set()
    # What the model was told of it was read from history, and not by the workflow.
    assert ended.text == f"done: {ended.results[0].content}"


@pytest.mark.tools_contract("outcome UNKNOWN: lost once, then not taken")
async def test_a_safe_call_that_was_lost_and_then_not_taken_is_unknown(agents: ToolAgents) -> None:
    safe = tool(policy={"retry_safe": True, "heartbeat_timeout": 1, "start_timeout": 4})
    async with agents.tools_running(max_concurrent_activities=1):
        ended = await agents.run(answer(call(how="stuck")), LAST, tools=[safe])
        assert ended.outcomes == ["UNKNOWN"]
        assert ended.results[0].content.startswith(
            "The call was to be repeated, and no worker took it within 4 s. The call may have"
        )
        assert len(agents.effects.calls) == 1
        agents.effects.released.set()


@pytest.mark.tools_contract("outcome UNKNOWN: its worker stopped")
async def test_a_call_whose_worker_stops_may_have_happened(agents: ToolAgents) -> None:
    async with agents.tools_running():
        handle = await agents.start(agents.agent([answer(call(how="stuck")), LAST]))
        await agents.effects.began.wait()
    ended = await agents.ended(handle)
    assert ended.outcomes == ["UNKNOWN"]
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("outcome ERROR: a result that cannot be read")
async def test_results_that_cannot_be_read_are_errors(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(how="bytes")), LAST)
    assert ended.outcomes == ["ERROR"]
    assert "binary/plain" in ended.results[0].content


@pytest.mark.tools_contract("outcome OK: the result, as it is")
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, ""),
        ("plain text", "plain text"),
        ({"a": [1, 2.5, "ü"]}, '{"a":[1,2.5,"ü"]}'),
        (12345678901234567890, "12345678901234567890"),
    ],
)
async def test_results_are_told_as_they_are(agents: ToolAgents, value: object, told: str) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(value=value)), LAST)
    assert ended.outcomes == ["OK"]
    try:
        assert json.loads(ended.results[0].content) == json.loads(told)
    except ValueError:
        assert ended.results[0].content == told


@pytest.mark.tools_contract("a long result is cut on a character")
async def test_long_results_are_cut_on_a_character(agents: ToolAgents) -> None:
    short = tool(policy={"max_result_bytes": 200})
    async with agents.tools_running():
        ended = await agents.run(answer(call(value="ü" * 500)), LAST, tools=[short])
    (result,) = ended.results
    assert result.truncated
    assert len(result.content.encode()) <= 200
    assert result.content.startswith("üüü")
    assert "1000 bytes" in result.content


@pytest.mark.parametrize(
    "text", ["", "null", "  ", "{}"], ids=["nothing", "null", "blanks", "an object"]
)
async def test_no_arguments_are_an_empty_object(agents: ToolAgents, text: str) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(call(arguments=text or " ")), LAST)
    assert ended.outcomes == ["OK"]
    assert agents.effects.calls == [{}]


SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
)


@pytest.mark.tools_contract("outcome REFUSED: no such tool")
@pytest.mark.tools_contract("outcome REFUSED: arguments that the tool does not take")
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (call("nope"), "There is no tool 'nope'. The tools are: act."),
        (call(arguments="{"), "not JSON: line 1"),
        (call(arguments="[1]"), "not a JSON object"),
        (call(city=3), "must be string at $.city"),
        (call(), "'city' is missing at $"),
    ],
    ids=["unknown", "malformed", "a list", "wrong type", "missing"],
)
async def test_a_refused_call_is_explained_and_the_run_goes_on(
    agents: ToolAgents, asked: ScriptToolCall, told: str
) -> None:
    strict = tool(input_schema=SCHEMA)
    async with agents.tools_running():
        ended = await agents.run(
            answer(asked, call(city="Bonn")), answer(text="fine"), tools=[strict]
        )
    assert ended.outcomes == ["REFUSED", "OK"]
    assert told in ended.results[0].content
    assert ended.text == "fine"
    assert agents.effects.calls == [{"city": "Bonn"}]
    for message in ended.full.status.messages:
        for part in message.parts:
            if part.HasField("tool_call"):
                assert isinstance(json.loads(part.tool_call.arguments_json), dict)
    assert ended.execution.status.usage.tool_calls == 1


@pytest.mark.tools_contract("five refused answers in a row end it")
async def test_five_refused_answers_in_a_row_end_it(agents: ToolAgents) -> None:
    ended = await agents.run(answer(call("nope")))
    assert ended.phase == "FAILED INVALID_REQUEST"
    assert ended.execution.status.steps == 5


async def test_refused_answers_that_are_not_in_a_row_do_not(agents: ToolAgents) -> None:
    bad, good = answer(call("nope")), answer(call(value=1))
    async with agents.tools_running():
        ended = await agents.run(bad, bad, bad, bad, good, bad, bad, bad, bad, LAST)
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("limit of tool calls: a batch beyond it does not start")
async def test_a_batch_beyond_the_limit_does_not_start(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(answer(*[call()] * 8), LAST, limits=AgentLimits(tool_calls=6))
    assert ended.phase == "FAILED TOOL_CALL_LIMIT"
    message = "the answer has 8 tool calls, after 0 calls; the limit is 6"
    assert ended.execution.status.failure.message == message
    assert agents.effects.calls == []
    last = ended.full.status.messages[-1]
    assert len([part for part in last.parts if part.HasField("tool_call")]) == 8


async def test_calls_up_to_the_limit_run(agents: ToolAgents) -> None:
    async with agents.tools_running():
        ended = await agents.run(
            answer(*[call()] * 4), answer(*[call()] * 2), LAST, limits=AgentLimits(tool_calls=6)
        )
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("sequential calls run alone, in order")
async def test_sequential_calls_run_alone_and_in_order(agents: ToolAgents) -> None:
    alone = tool("alone", policy={"sequential": True})
    asked = [call(value=0), call(value=1), call("alone", value=2), call("alone", value=3)]
    async with agents.tools_running():
        ended = await agents.run(answer(*asked, call(value=4)), LAST, tools=[tool(), alone])
    assert ended.outcomes == ["OK"] * 5
    assert agents.effects.order[4:] == ["+2", "-2", "+3", "-3", "+4", "-4"]


@pytest.mark.tools_contract("ids of a provider may repeat")
async def test_ids_of_the_provider_may_repeat(agents: ToolAgents) -> None:
    same = [call(value=n, call_id="call_0") for n in range(3)]
    async with agents.tools_running():
        ended = await agents.run(answer(*same), answer(*same), LAST)
    assert [result.content for result in ended.results] == ["0", "1", "2"] * 2
    assert len({result.call_id for result in ended.results}) == 6


@pytest.mark.tools_contract("the key in an argument, hidden from the model")
async def test_the_key_is_put_into_an_argument(agents: ToolAgents) -> None:
    schema = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "value": {}},
        "required": ["key", "value"],
    }
    keyed = tool(input_schema=json.dumps(schema), policy={"idempotency_argument": "key"})
    async with agents.tools_running():
        ended = await agents.run(answer(call(value=1)), LAST, tools=[keyed])
    assert agents.effects.calls == [{"value": 1, "key": f"{ended.handle.id}/1-1"}]


@pytest.mark.tools_contract("workflows and Nexus operations are tools")
async def test_a_workflow_is_a_tool(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    async with agents.tools_running():
        ended = await agents.run(answer(call("book", room=3)), LAST, tools=[book])
    assert ended.outcomes == ["OK"]
    told = json.loads(ended.results[0].content)
    assert told == {"booked": {"room": 3}, "key": f"{ended.handle.id}/1-1"}


async def test_a_childs_failure_is_a_result(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    async with agents.tools_running():
        ended = await agents.run(answer(call("book", how="fail")), LAST, tools=[book])
    assert (ended.outcomes, ended.results[0].content) == (["ERROR"], "Full: no room is free")


async def test_a_child_that_times_out_may_have_happened(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"), policy=new_policy(timeout=1))
    async with agents.tools_running():
        ended = await agents.run(answer(call("book", how="wait")), LAST, tools=[book])
    assert ended.outcomes == ["UNKNOWN"]
    assert ended.results[0].content.startswith("The call took longer than 1 s. The call may have")
    assert ended.text == f"done: {ended.results[0].content}"


@pytest.mark.tools_contract("outcome CANCELLED")
async def test_a_child_that_an_operator_cancels_is_cancelled(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    async with agents.tools_running():
        handle = await agents.start(agents.agent([answer(call("book", how="wait")), LAST], book))
        child = await child_of(agents, handle.id)
        await child.cancel()
        ended = await agents.ended(handle)
    assert ended.outcomes == ["CANCELLED"]
    assert ended.phase == "COMPLETED"


@pytest.mark.tools_contract("a cancel reaches activities and children")
async def test_a_cancel_reaches_activities_and_children(agents: ToolAgents) -> None:
    book = Tool(name="book", workflow=WorkflowTool(type="book"))
    waits = tool(policy={"heartbeat_timeout": 5})
    script = [answer(call(how="wait"), call("book", how="wait")), LAST]
    async with agents.tools_running():
        handle = await agents.start(agents.agent(script, waits, book))
        child = await child_of(agents, handle.id)
        await agents.effects.began.wait()
        await handle.cancel()
        ended = await agents.ended(handle)
        assert ended.phase == "CANCELLED CANCELLED"
        await agents.effects.cancelled.wait()
        with pytest.raises(WorkflowFailureError) as caught:
            await child.result()
    assert isinstance(caught.value.cause, CancelledError)


async def test_a_view_has_the_calls_that_are_under_way(agents: ToolAgents) -> None:
    waits = tool(policy={"heartbeat_timeout": 5})
    async with agents.tools_running():
        asked = [call(how="wait", value=1), call(how="fail")]
        handle = await agents.start(agents.agent([answer(*asked), LAST], waits))
        await until(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
        view = await handle.query(AgentWorkflow.execution)
        agents.effects.released.set()
        await agents.ended(handle)
    _, asks, results = view.status.messages
    assert [part.tool_call.call_id for part in asks.parts] == ["1-1", "1-2"]
    assert [part.tool_result.call_id for part in results.parts] == ["1-2"]


async def test_a_document_that_was_not_resolved_is_an_error(agents: ToolAgents) -> None:
    missing = Tool(name="report", workflow=WorkflowTool(name="sales"))
    ended = await agents.run(answer(call("report")), LAST, tools=[missing])
    assert ended.outcomes == ["ERROR"]


async def child_of(agents: ToolAgents, execution_id: str) -> WorkflowHandle[Any, Any]:
    """Return the first child of an execution, once it runs."""
    handle = agents.client.get_workflow_handle(execution_id)
    async for event in handle.fetch_history_events(wait_new_event=True):
        attributes = event.child_workflow_execution_started_event_attributes
        if attributes.workflow_execution.workflow_id:
            return agents.client.get_workflow_handle(attributes.workflow_execution.workflow_id)
    raise AssertionError("it started no child")
