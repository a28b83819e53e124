"""Tool calls as watches and timelines show them, against a real Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.event_texts import lines, timeline_with
from services.stigma_api.tests.fake_tools import FakeTools, api_with_tools
from services.stigma_api.tests.fake_workflows import diagnosis, timeline_of
from services.stigma_api.tests.rpc_counter import counted
from stigma.agent.v1.agent_execution_pb2 import AgentExecution, ToolOutcome, ToolResult
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_service_pb2 import GetAgentRequest
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, ConverseRequest, ConverseResponse
from stigma_api.diagnosis.timeline import history_window, timelines
from stigma_api.executions.reader import Reader
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import AgentEventMapper
from stigma_api.kinds import AGENTS
from tests.stack.waiting import eventually

EVERY = "find fail flaky lose nobody talk call_model ship sink pay"
OUTCOMES = {
    "1-1": "OK",
    "1-2": "ERROR",
    "1-3": "OK",
    "1-4": "UNKNOWN",
    "1-5": "NOT_RUN",
    "1-6": "OK",
    "1-7": "OK",
    "1-8": "OK",
    "1-9": "ERROR",
    "1-10": "OK",
}


@pytest.fixture(scope="module")
async def tooled(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Api, FakeTools]]:
    directory = tmp_path_factory.mktemp("tooled")
    async with api_with_tools(temporal_server.address, directory, client) as tooled:
        yield tooled


async def start(api: Api, message: str) -> AgentExecution:
    request = StartAgentRequest(agent_id="clerk", message=message)
    started: AgentExecution = await api.executions.StartAgent(request)
    return started


async def watched(
    api: Api, execution_id: str, cursor: str = ""
) -> list[WatchAgentExecutionResponse]:
    """Everything up to the end."""
    request = WatchAgentExecutionRequest(id=execution_id, cursor=cursor)
    return [event async for event in api.executions.WatchAgentExecution(request, timeout=30)]


def outcome(result: ToolResult) -> str:
    return ToolOutcome.Name(result.outcome).removeprefix("TOOL_OUTCOME_")


def results(events: list[WatchAgentExecutionResponse]) -> dict[str, ToolResult]:
    ended = [event.tool_call_ended.result for event in events if event.HasField("tool_call_ended")]
    assert len({each.call_id for each in ended}) == len(ended)
    return {each.call_id: each for each in ended}


async def test_a_watch_has_the_results_that_the_model_is_told(
    tooled: tuple[Api, FakeTools],
) -> None:
    api, _ = tooled
    started = await start(api, f"{EVERY}|find ?serch")
    events = await watched(api, started.id)
    begun = [event.tool_call_started for event in events if event.HasField("tool_call_started")]
    names = EVERY.split()
    assert [(each.call_id, each.name) for each in begun] == [
        *((f"1-{number}", name) for number, name in enumerate(names, start=1)),
        ("2-1", "find"),
    ]
    # Workflows that tools run have ids of the same form as executions of agents.
    assert {each.execution_id for each in begun} == {""}
    told = results(events)
    assert {call: outcome(each) for call, each in told.items()} == {
        **OUTCOMES,
        "2-1": "OK",
        "2-2": "REFUSED",
    }
    # The workflow made its own from what the SDK gave it.
    messages = events[-1].ended.execution.status.messages
    parts = [part for message in messages for part in message.parts]
    for_the_model = [part.tool_result for part in parts if part.HasField("tool_result")]
    assert told == {each.call_id: each for each in for_the_model}
    assert told["1-6"].truncated
    assert told["1-2"].content == "NotFound: a secret that was not found"


async def test_every_cursor_resumes_right_after_it(tooled: tuple[Api, FakeTools]) -> None:
    api, _ = tooled
    started = await start(api, "find ?a ?b|- ?c|pay ?d ?e ?f")
    everything = await watched(api, started.id)
    kinds = [event.WhichOneof("event") for event in everything]
    assert kinds == [
        *("started", "model_call_started", "model_call_completed"),
        *("tool_call_ended", "tool_call_ended", "tool_call_started", "tool_call_ended"),
        *("model_call_started", "model_call_completed", "tool_call_ended"),
        *("model_call_started", "model_call_completed"),
        *("tool_call_ended", "tool_call_ended", "tool_call_ended"),
        *("tool_call_started", "tool_call_ended", "ended"),
    ]
    steps = [e.model_call_started.step for e in everything if e.HasField("model_call_started")]
    assert steps == [1, 2, 3]
    assert len({event.cursor for event in everything}) == len(everything)
    for index, event in enumerate(everything):
        assert await watched(api, started.id, event.cursor) == everything[index + 1 :]


async def test_calls_that_an_execution_ends_before_are_cancelled(
    tooled: tuple[Api, FakeTools], client: Client
) -> None:
    api, fake = tooled
    fake.holds.clear()
    started = await start(api, "find|hold hold")
    await fake.holds.wait()
    await client.get_workflow_handle(started.id).terminate()
    everything = await watched(api, started.id)
    *_, first, second, ended = everything
    assert [(r.call_id, r.name, outcome(r)) for r in map(_result, (first, second))] == [
        ("2-1", "hold", "CANCELLED"),
        ("2-2", "hold", "CANCELLED"),
    ]
    assert _result(first).content == (
        "The call was cancelled: its execution ended. It may have happened."
    )
    assert ended.HasField("ended")
    for index, event in enumerate(everything):
        assert await watched(api, started.id, event.cursor) == everything[index + 1 :]
    queue = f"{api.queues.prefix}tools"
    timeline = await timeline_with(api, started.id, "ENDED")
    assert lines(timeline, pb.TIMELINE_STEP_TOOL_CALL) == [
        f"tool call 1-1, find on task queue {queue}; OK",
        f"tool call 2-1, hold on task queue {queue}; CANCELLED",
        f"tool call 2-2, hold on task queue {queue}; CANCELLED",
    ]


def _result(event: WatchAgentExecutionResponse) -> ToolResult:
    return event.tool_call_ended.result


async def test_a_watch_decodes_each_answer_once_and_none_before_its_cursor(
    tooled: tuple[Api, FakeTools], client: Client
) -> None:
    api, _ = tooled
    started = await start(api, "|".join(["find find"] * 8))
    everything = await watched(api, started.id)

    async def read(cursor: str = "") -> Any:
        counting, decoded = counted(client)
        reader = Reader(counting, AGENTS)
        found = await reader.find(started.id)
        assert found is not None
        events = Watching(counting, AGENTS, reader, AgentEventMapper).events(found, cursor)
        async with decoded.beside_somebody():
            seen = [event async for event in events]
        assert seen == (everything[-len(seen) :])
        return decoded

    decoded = await read()
    assert decoded.of(ConverseRequest) == 8  # without the conversation they are small
    assert decoded.of(ConverseResponse) == 8
    assert decoded.of(AgentWorkflowInput) == 1
    last_step = [e.cursor for e in everything if e.HasField("model_call_started")][-1]
    decoded = await read(last_step)
    assert decoded.of(ConverseRequest) == 1
    assert decoded.of(ConverseResponse) == 1


async def test_a_timeline_has_each_call_with_its_outcome_and_no_content(
    tooled: tuple[Api, FakeTools],
) -> None:
    api, _ = tooled
    started = await start(api, f"{EVERY}|find ?serch")
    found = await timeline_with(api, started.id, "ENDED")  # which checks that no secret is in it
    queue = f"{api.queues.prefix}tools"
    assert sorted(lines(found, pb.TIMELINE_STEP_TOOL_CALL)) == sorted(
        [
            f"tool call 1-1, find on task queue {queue}; OK",
            f"tool call 1-2, fail on task queue {queue}; ERROR, NotFound",
            f"tool call 1-3, flaky on task queue {queue}; OK",
            f"tool call 1-4, lose on task queue {queue}; UNKNOWN, timed out: start to close",
            f"tool call 1-5, nobody on task queue {queue}-deserted; "
            "NOT_RUN, timed out: schedule to start",
            f"tool call 1-6, talk on task queue {queue}; OK",
            f"tool call 1-7, call_model on task queue {queue}; OK",
            f"tool call 1-8, ship on task queue {queue}; OK",
            f"tool call 1-9, sink on task queue {queue}; ERROR, Iceberg",
            f"tool call 1-10, pay on Nexus endpoint bills-{queue}; OK",
            f"tool call 2-1, find on task queue {queue}; OK",
            "tool call 2-2, serch; REFUSED",
        ]
    )
    calls = {
        each.title.split(",")[0].split()[-1]: each
        for each in found.entries
        if each.step == pb.TIMELINE_STEP_TOOL_CALL
    }
    assert {call for call, each in calls.items() if each.failed} == {
        *("1-2", "1-4", "1-5", "1-9", "2-2")
    }
    assert all(each.HasField("duration") for call, each in calls.items() if call != "2-2")
    assert calls["1-3"].attempt == 3
    assert calls["1-8"].workflow_id == f"{started.id}-1-8"
    assert calls["1-8"].run_id
    assert calls["1-1"].workflow_id == started.id
    assert [each.title for each in found.entries if each.step == pb.TIMELINE_STEP_MODEL_CALL] == [
        "model call 1, scripted:tools",
        "model call 2, scripted:tools",
    ]


async def test_the_usage_of_a_timeline_counts_calls(
    tooled: tuple[Api, FakeTools], client: Client
) -> None:
    api, fake = tooled
    fake.holds.clear()
    started = await start(api, "find ?serch|hold")
    await fake.holds.wait()

    async def counts() -> pb.ExecutionTimeline | None:
        found = await timeline_of(api, started.id)
        return found if found.usage.tool_calls == 2 else None

    found = await eventually(counts, what="two tool calls")
    assert (found.usage.model_calls, found.usage.cache_read_tokens) == (2, 120)
    under_way = found.entries[-1]
    assert under_way.open
    assert under_way.title.startswith("tool call 2-1, hold")
    await client.get_workflow_handle(started.id).cancel()
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle(started.id).result()


async def test_a_timeline_whose_beginning_is_left_out_still_has_outcomes(
    tooled: tuple[Api, FakeTools], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, _ = tooled
    started = await start(api, "|".join(["find fail"] * 4))
    whole = await timeline_with(api, started.id, "ENDED")
    for limit in range(6, 30, 3):
        monkeypatch.setattr(history_window, "MAX_EVENTS", limit)
        cut = await timeline_of(api, started.id)
        assert cut.truncated
        of_whole = {each.title: each for each in whole.entries}
        for each in cut.entries:
            if each.step == pb.TIMELINE_STEP_TOOL_CALL and not each.open:
                known = of_whole.get(each.title)
                assert known == each or ", f" not in each.title
                assert each.detail in {"OK", "ERROR, NotFound"}
    monkeypatch.undo()
    monkeypatch.setattr(timelines, "MAX_CALLS", 3)
    cut = await timeline_of(api, started.id)
    calls = (pb.TIMELINE_STEP_MODEL_CALL, pb.TIMELINE_STEP_TOOL_CALL)
    assert [each for each in cut.entries if each.step in calls] == [
        each for each in whole.entries if each.step in calls
    ][-3:]


async def test_a_call_that_no_worker_takes_is_diagnosed(
    tooled: tuple[Api, FakeTools], client: Client
) -> None:
    api, _ = tooled
    spec = (await api.agents.GetAgent(GetAgentRequest(id="clerk"))).spec
    for each in spec.tools:
        each.policy.ClearField("start_timeout")
    for name, tool in (("ship", "workflow"), ("nobody", "activity")):
        [waiting] = [each for each in spec.tools if each.name == name]
        getattr(waiting, tool).task_queue = f"{api.queues.prefix}deserted"
    request = StartAgentRequest(spec=spec, message="nobody")
    by_activity = (await api.executions.StartAgent(request)).id
    request.message = "ship"
    by_child = (await api.executions.StartAgent(request)).id

    expected = f"tool call 1-1: no worker polls task queue {api.queues.prefix}deserted"
    seen: dict[str, str] = {}

    async def diagnosed() -> bool:
        listing = pb.ListStuckExecutionsRequest()
        listing.min_age.FromTimedelta(timedelta())
        reply = await diagnosis(api).ListStuckExecutions(listing, timeout=15)
        seen.update({each.execution_id: each.message for each in reply.executions})
        return seen.get(by_activity) == seen.get(by_child) == expected

    await eventually(diagnosed, what=lambda: f"both, not {seen}")
    for execution_id in (by_activity, by_child):
        await client.get_workflow_handle(execution_id).terminate()
