"""Parts of the console that need no server: the chart, the views, what is shared while it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    ROLE_MODEL,
    ROLE_USER,
    TOOL_OUTCOME_NOT_RUN,
    AgentExecution,
    Message,
    Part,
    ToolCall,
    ToolResult,
    Usage,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_WORKFLOW_ERROR
from stigma.contracts import engine
from stigma.contracts.executions import Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_DELIVERED,
    TIMELINE_STEP_MODEL_CALL,
    TIMELINE_STEP_PENDING,
    TIMELINE_STEP_RESUMED,
    TIMELINE_STEP_TAKEN,
    ExecutionTimeline,
)
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_FAILED,
    WorkflowExecution,
)
from stigma_api import errors
from stigma_api.access.principals import LOCAL
from stigma_api.console import chart, rendering
from stigma_api.console.rendering import TemporalUi
from stigma_api.console.shared_streams import Fragments, SharedStreams
from stigma_api.console.views import MAX_MESSAGES, MAX_TEXT, view

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def timeline(*entries: tuple[int, float, dict[str, Any]]) -> ExecutionTimeline:
    """Entries as (step, seconds after the start, more)."""
    told = ExecutionTimeline()
    told.caller.workflow_id = "order-1"
    for step, seconds, more in entries:
        entry = told.entries.add(step=step, **{k: v for k, v in more.items() if k != "took"})
        entry.time.FromDatetime(START + timedelta(seconds=seconds))
        if "took" in more:
            entry.duration.FromTimedelta(timedelta(seconds=more["took"]))
    return told


def test_an_attempt_is_told_of_once():
    calls = [
        (TIMELINE_STEP_MODEL_CALL, 0, {"attempt": 2, "detail": "its worker was lost, attempt 2"}),
        (TIMELINE_STEP_MODEL_CALL, 0, {"attempt": 2, "detail": "INTERNAL"}),
    ]
    assert [bar.attempt for bar in chart.layout(timeline(*calls), START).bars] == [0, 2]


def test_a_chart_lays_entries_on_one_axis():
    drawn = chart.layout(
        timeline(
            (TIMELINE_STEP_TAKEN, 0, {"workflow_id": "order-1"}),
            (TIMELINE_STEP_PENDING, 10, {"workflow_id": "agent-1"}),
            (TIMELINE_STEP_MODEL_CALL, 20, {"took": 50, "workflow_id": "agent-1"}),
            (TIMELINE_STEP_DELIVERED, 80, {"workflow_id": "agent-1"}),
            (TIMELINE_STEP_RESUMED, 100, {"workflow_id": "order-1"}),
        ),
        START + timedelta(hours=1),
    )
    assert [(bar.step, bar.lane, bar.x, bar.width) for bar in drawn.bars] == [
        ("taken", "caller", 0, 6),
        ("pending", "caller", 100, 900),  # until the caller went on
        ("model_call", "execution", 200, 500),
        ("delivered", "execution", 800, 6),
        ("resumed", "caller", 994, 6),
    ]
    assert [position for position, _ in drawn.ticks] == [0, 333, 666, 1000]
    assert drawn.ticks[-1][1] == timedelta(seconds=100)


def test_what_goes_on_reaches_up_to_now():
    drawn = chart.layout(
        timeline(
            (TIMELINE_STEP_PENDING, 0, {}),
            (TIMELINE_STEP_PENDING, 10, {}),  # another attempt waits in its place
            (TIMELINE_STEP_MODEL_CALL, 20, {"open": True, "attempt": 2}),
        ),
        START + timedelta(seconds=40),
    )
    assert [bar.duration for bar in drawn.bars] == [
        timedelta(seconds=10),
        timedelta(seconds=30),
        timedelta(seconds=20),
    ]
    assert [bar.x + bar.width for bar in drawn.bars] == [250, 1000, 1000]


def test_an_empty_chart_and_names_of_later_releases():
    drawn = chart.layout(ExecutionTimeline(caller_unavailable="past retention"), START)
    assert (drawn.bars, drawn.caller_unavailable) == ((), "past retention")
    assert chart.step_name(999) == "999"  # type: ignore[arg-type]
    moment = chart.layout(timeline((TIMELINE_STEP_TAKEN, 0, {})), START)
    assert [(bar.x, bar.width) for bar in moment.bars] == [(0, 6)]


def test_a_workflow_execution_is_viewed_as_an_agents():
    execution = WorkflowExecution(id="workflow-1")
    execution.spec.workflow_id = "order@2"
    execution.spec.input_json = '{"a":1}'
    execution.status.phase = WORKFLOW_EXECUTION_PHASE_FAILED
    execution.status.failure.reason = FAILURE_REASON_WORKFLOW_ERROR
    execution.status.error_json = "not json"
    execution.status.run.workflow_id = "run-1"
    shown = view(execution)
    assert (shown.kind, shown.phase, shown.definition, shown.name) == (
        Kind.WORKFLOW,
        "FAILED",
        "order@2",
        "order",
    )
    assert shown.has_ended
    assert shown.input.text == '{\n  "a": 1\n}'
    assert shown.error.text == "not json"
    assert shown.reason == "WORKFLOW_ERROR"
    assert shown.run is not None
    assert (shown.usage, shown.caller, shown.callback, shown.start) == (None, None, None, None)


@pytest.mark.parametrize(
    ("caller", "parent"),
    [
        (engine.run_id(f"workflow-{'0a' * 16}"), f"workflow-{'0a' * 16}"),
        ("run-1", ""),
        ("order-1", ""),
        ("", ""),
    ],
)
def test_an_agent_called_by_a_document_names_its_execution(caller: str, parent: str):
    execution = AgentExecution(id="agent-1")
    execution.spec.caller.workflow_id = caller
    assert view(execution).parent == parent


def test_half_a_surrogate_pair_is_shown_as_it_was_written():
    execution = WorkflowExecution(id="workflow-1")
    execution.spec.input_json = r'{"a": "é \ud800 \ud83d\ude00"}'
    shown = view(execution).input.text
    assert shown == '{\n  "a": "é \\ud800 \U0001f600"\n}'
    assert shown.encode()


def test_tool_calls_and_results_are_parts_of_a_conversation():
    execution = AgentExecution()
    call = ToolCall(call_id="1-1", name="find", arguments_json='{"id":"A-1"}')
    asked = Message(role=ROLE_MODEL, parts=[Part(text="I look."), Part(tool_call=call)])
    result = ToolResult(
        call_id="1-1", name="find", outcome=TOOL_OUTCOME_NOT_RUN, content="<late>", truncated=True
    )
    told = Message(role=ROLE_USER, parts=[Part(tool_result=result)])
    execution.status.messages.extend([asked, told])
    execution.status.usage.tool_calls = 1
    shown = view(execution)
    assert [turn.role for turn in shown.conversation] == ["model", "tools"]
    text, called = shown.conversation[0].parts
    [answered] = shown.conversation[1].parts
    assert (text.kind, text.content.text) == ("text", "I look.")
    assert (called.kind, called.call_id, called.name) == ("tool_call", "1-1", "find")
    assert called.content.text == '{\n  "id": "A-1"\n}'
    assert (answered.kind, answered.outcome, answered.truncated) == ("tool_result", "NOT_RUN", True)
    templates = rendering.TemplateRenderer(rendering.Assets())
    page = templates.part("_conversation.html", execution=shown)
    assert "&lt;late&gt;" in page
    assert '<span class="outcome not_run">not run</span>' in page
    assert 'Calls <strong class="mono">find</strong>' in page
    assert "cut at the tool" in page


def test_usage_is_shown_by_model_where_there_are_several():
    execution = AgentExecution()
    usage = Usage(model_calls=2, tool_calls=3, input_tokens=1500, cache_read_tokens=1000)
    usage.unmeasured_calls = 1
    execution.status.usage.CopyFrom(usage)
    execution.status.usage_by_model["openai:a"].CopyFrom(usage)
    assert view(execution).usage_by_model == []
    execution.status.usage_by_model["openai:b"].cost_usd = 0.5
    templates = rendering.TemplateRenderer(rendering.Assets())
    values = {"execution": view(execution), "links": {}, "chart": None, "ui": None}
    page = templates.part("_summary.html", principal=LOCAL, **values)
    assert "1,500 in (1,000 from the cache), 0 out (estimated for 1 of the calls)" in page
    assert "<dt>Tool calls</dt><dd>3</dd>" in page
    assert '<dt class="mono">openai:b</dt><dd>0 in, 0 out, $0.5000</dd>' in page


def test_long_texts_and_conversations_are_cut():
    execution = AgentExecution(id="agent-1")
    execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
    execution.status.output.json = "[" * 100_000
    execution.spec.message = "x" * (MAX_TEXT + 7)
    said = Message(role=ROLE_MODEL, parts=[Part(thinking="hm"), Part(text="said")])
    execution.status.messages.extend([said] * (MAX_MESSAGES + 3))
    execution.status.messages[-1].role = 99  # type: ignore[assignment]
    execution.status.callback.state = 99  # type: ignore[assignment]
    shown = view(execution)
    assert (len(shown.task.text), shown.task.left_out) == (MAX_TEXT, 7)
    assert (len(shown.conversation), shown.earlier_messages) == (MAX_MESSAGES, 3)
    first, last = shown.conversation[0], shown.conversation[-1]
    assert (first.number, first.role) == (4, "model")
    assert [part.kind for part in first.parts] == ["thinking", "text"]
    assert (last.role, shown.callback_state) == ("99", "99")
    assert shown.structured.left_out == 80_000


def test_links_into_temporals_ui():
    ui = TemporalUi("http://temporal:8233/", "default")
    assert ui.workflow("a/b?c") == "http://temporal:8233/namespaces/default/workflows/a%2Fb%3Fc"
    assert ui.workflow("a", "r", "team").endswith("/namespaces/team/workflows/a/r/history")
    assert ui.workflow("") == ""
    assert TemporalUi("", "default").workflow("a") == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0421, "42 ms"),
        (1.25, "1.2 s"),
        (61, "1 min 1 s"),
        (3 * 3600 + 120, "3 h 2 min"),
        (26 * 3600, "1 d 2 h"),
    ],
)
def test_durations_have_as_many_digits_as_help(seconds: float, shown: str):
    assert rendering.format_duration(timedelta(seconds=seconds)) == shown


class FedSource:
    """A source that yields what it is given."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[Fragments | Exception | None] = asyncio.Queue()
        self.runs = 0

    async def __call__(self) -> AsyncIterator[Fragments]:
        self.runs += 1
        while (fragments := await self.given.get()) is not None:
            if isinstance(fragments, Exception):
                raise fragments
            yield fragments
            self.given.task_done()


async def test_those_who_follow_one_topic_share_its_source():
    streams, source = SharedStreams(), FedSource()
    first = streams.follow("t", source, quiet=60)
    source.given.put_nowait({"a": "1", "b": "1"})
    assert await anext(first) == {"a": "1", "b": "1"}
    second = streams.follow("t", source, quiet=60)
    assert await anext(second) == {"a": "1", "b": "1"}  # the newest, at once
    source.given.put_nowait({"a": "2", "b": "1"})
    assert await anext(first) == await anext(second) == {"a": "2"}
    source.given.put_nowait(None)
    for following in (first, second):
        assert [news async for news in following] == []
    assert source.runs == 1
    async with aclosing(streams.follow("t", source, quiet=60)) as third:
        source.given.put_nowait({"a": "3"})
        assert await anext(third) == {"a": "3"}
    assert source.runs == 2


async def test_who_is_slow_gets_the_newest():
    streams, source = SharedStreams(), FedSource()
    async with aclosing(streams.follow("t", source, quiet=60)) as following:
        source.given.put_nowait({"a": "1"})
        assert await anext(following) == {"a": "1"}
        for number in (2, 3, 4):
            source.given.put_nowait({"a": str(number)})
            async with asyncio.timeout(30):
                await source.given.join()
        assert await anext(following) == {"a": "4"}


async def test_a_source_without_followers_is_stopped():
    streams, source = SharedStreams(), FedSource()
    async with aclosing(streams.follow("t", source, quiet=60)) as following:
        source.given.put_nowait({"a": "1"})
        await anext(following)
    assert streams._topics == {}


async def test_a_quiet_stream_gives_a_sign_of_life_and_ends_when_told():
    streams = SharedStreams()
    following = streams.follow("t", FedSource(), quiet=0.01)
    assert await anext(following) == {}
    streams.close()
    assert [news async for news in following] == []


@pytest.mark.parametrize("error", [errors.unavailable("away"), ValueError("a bug")])
async def test_what_stops_a_source_reaches_its_followers(error: Exception):
    streams, source = SharedStreams(), FedSource()
    source.given.put_nowait(error)
    with pytest.raises(type(error)):
        await anext(streams.follow("t", source, quiet=60))
