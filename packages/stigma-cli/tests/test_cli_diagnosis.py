"""`stigma execution timeline` and what `stigma doctor` says of executions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import TemporalCaller, Usage
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_RATE_LIMITED,
    Agent,
    AgentSpec,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma_cli import execution_timeline, stuck
from stigma_cli.errors import Exit
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

AGENTS = {
    "quick": Script(steps=[ScriptStep(text="hm", pause=True), ScriptStep(text="done")]),
    "limited": Script(
        steps=[
            ScriptStep(
                failure=ScriptFailure(reason=FAILURE_REASON_RATE_LIMITED, message="too many")
            )
        ]
        * 3
    ),
}


@pytest.fixture(scope="module")
async def executions(stack: Stack) -> AsyncIterator[Any]:
    """The API's executions, with the agents applied."""
    channel = grpc.aio.insecure_channel(stack.api_address)
    for name, script in AGENTS.items():
        spec = AgentSpec(model="scripted:test", script=script)
        request = ApplyAgentRequest(agent=Agent(name=name, spec=spec))
        await AgentServiceStub(channel).ApplyAgent(request)
    yield AgentExecutionServiceStub(channel)
    await channel.close()


async def test_a_timeline_is_printed_as_lines_as_json_and_as_a_picture(
    stigma: Stigma, env: dict[str, str], executions: Any, tmp_path: Path
) -> None:
    started = await executions.StartAgent(StartAgentRequest(agent_id="quick", message="a secret"))

    async def ended() -> Any:
        shown = await stigma("execution", "timeline", started.id, "-o", "json", **env)
        told = json.loads(shown.output)
        return told if told["phase"] == "COMPLETED" else None

    told = await eventually(ended, what="the end")
    assert [each["step"].removeprefix("TIMELINE_STEP_") for each in told["entries"]] == [
        "ACKNOWLEDGED",
        "STARTED",
        "MODEL_CALL",
        "MODEL_CALL",
        "ENDED",
    ]
    shown = await stigma("execution", "timeline", started.id, **env)
    assert shown.exit_code == Exit.OK
    assert shown.output.startswith(f"{started.id}  quick@1  COMPLETED  from 2")
    assert f"request {started.spec.request_id}" in shown.output
    assert "model call 2, scripted:test" in shown.output
    assert "secret" not in shown.output
    picture = tmp_path / "timeline.svg"
    written = await stigma("execution", "timeline", started.id, "--svg", picture, **env)
    assert (written.exit_code, written.output) == (Exit.OK, "")
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert "scripted:test" in drawn
    assert "https://cdn" not in drawn
    nowhere = tmp_path / "none" / "timeline.svg"
    refused = await stigma("execution", "timeline", started.id, "--svg", nowhere, **env)
    assert refused.exit_code == Exit.USAGE
    missing = await stigma("execution", "timeline", "agent-none", **env)
    assert missing.exit_code == Exit.NOT_FOUND
    assert missing.stderr.splitlines() == [
        "error: execution agent-none not found",
        "hint: `stigma execution list` shows what there is",
    ]


async def test_a_doctor_lists_stuck_executions_with_the_command_that_helps(
    stigma: Stigma, env: dict[str, str], executions: Any
) -> None:
    started = await executions.StartAgent(StartAgentRequest(agent_id="limited", message="m"))

    async def limited() -> Any:
        checked = await stigma("doctor", "--min-age", "0s", "-o", "json", **env)
        told = json.loads(checked.output)
        mine = [each for each in told["stuck"] if each["executionId"] == started.id]
        is_limited = mine and mine[0]["reason"] == "STUCK_REASON_PROVIDER_LIMITED"
        return (checked, told) if is_limited else None

    checked, told = await eventually(limited, what="the provider's limit is seen")
    assert checked.exit_code == Exit.FAILED
    assert told["ok"] is False
    [found] = [each for each in told["checks"] if each["name"] == "executions"]
    assert found["fix"] == "see below"
    again = StartAgentRequest(agent_id="limited", message="once more")
    other = await executions.StartAgent(again)
    shown = await stigma("doctor", "--min-age", "0s", **env)
    assert shown.exit_code == Exit.FAILED
    assert f"{started.id} limited@1: PROVIDER_LIMITED, started " in shown.output
    assert f"\n  $ stigma execution timeline {started.id}\n" in shown.output
    young = json.loads((await stigma("doctor", "--min-age", "1h", "-o", "json", **env)).output)
    assert young["stuck"] == []
    # Or other tests' doctors find them.
    for each in (started, other):
        await stigma("execution", "cancel", each.id, **env)
        await stigma("execution", "watch", each.id, **env)


async def test_a_doctor_refuses_what_is_no_age(stigma: Stigma, env: dict[str, str]) -> None:
    for age in ("old", "9999h"):
        refused = await stigma("doctor", "--min-age", age, **env)
        assert refused.exit_code == Exit.USAGE, refused.output


def entry(step: pb.TimelineStep.ValueType, after: float, **fields: Any) -> pb.TimelineEntry:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=after)
    time = Timestamp()
    time.FromDatetime(moment)
    return pb.TimelineEntry(**{"time": time, "step": step, "workflow_id": "workflow-1", **fields})


def shown(told: pb.ExecutionTimeline, width: int | None = 100) -> list[str]:
    return execution_timeline.draw(told, width).plain.split("\n")


def story() -> pb.ExecutionTimeline:
    return pb.ExecutionTimeline(
        execution_id="workflow-1",
        phase="RUNNING",
        request_id="r",
        caller=TemporalCaller(workflow_id="order-17", activity_id="a"),
        usage=Usage(model_calls=2, input_tokens=1200, output_tokens=30, cost_usd=0.5),
        caller_unavailable="it is past retention",
        truncated=True,
        entries=[
            entry(
                pb.TIMELINE_STEP_TAKEN,
                0,
                title="call_agent takes its token",
                workflow_id="order-17",
                fingerprint="0123456789ab",
                attempt=2,
            ),
            entry(pb.TIMELINE_STEP_ACKNOWLEDGED, 0.02, title="accepted"),
            entry(
                pb.TIMELINE_STEP_MODEL_CALL,
                1,
                title="model call 1",
                detail="timed out",
                failed=True,
                duration=Duration(seconds=150),
            ),
            entry(
                pb.TIMELINE_STEP_ENGINE_RUN,
                7300,
                title="the engine runs it",
                workflow_id="run-1",
                open=True,
            ),
        ],
    )


def test_a_documents_calls_are_the_engines() -> None:
    told = story()
    call = told.entries.add()
    call.CopyFrom(told.entries[-1])
    call.step, call.title = pb.TIMELINE_STEP_DOCUMENT_CALL, "HTTP call /do/0/pet"
    assert execution_timeline.who(told, call) == "engine"
    assert any("engine" in line and "HTTP call /do/0/pet" in line for line in shown(told, 120))


@pytest.mark.parametrize("width", [40, 60, 79, 80, 120, None])
def test_an_entry_of_a_timeline_is_never_folded(width: int | None) -> None:
    told = story()
    told.entries[2].detail = "RATE_LIMITED: the provider takes no more calls for a minute"
    lines = shown(told, width)[lines_before(told, width) :]
    whole = f"model call 1  {told.entries[2].detail}"
    if width in {40, 60}:
        assert f"what: {whole}" in lines
        assert lines[:4] == ["at: +0 ms", "who: caller", lines[2], "token: 0123456789ab"]
        return
    table = lines[: 1 + len(told.entries)]
    assert [line.split()[0] for line in table] == ["AT", "+0", "+20", "+1.0", "+2"]
    assert width is None or max(map(len, table)) <= width
    assert ("…" in table[3]) is (width in {79, 80})
    assert "model call 1  RATE_LIMITED: the " in table[3]
    assert (whole in table[3]) is (width not in {79, 80})


def lines_before(told: pb.ExecutionTimeline, width: int | None) -> int:
    """Count the lines before the table."""
    return shown(told, width).index("") + 1


@pytest.mark.parametrize(("width", "bar"), [(99, 16), (98, 8), (91, 8), (90, 0), (82, 0)])
def test_bars_are_as_long_as_there_is_room(width: int, bar: int) -> None:
    told = story()
    lines = shown(told, width)
    head = lines[lines_before(told, width)]
    assert head.index("WHO") - head.index("TOOK") == 5 + (bar + 1 if bar else 0)
    assert max(map(len, lines)) <= width


def test_whose_part_and_how_long_is_seen_at_a_glance() -> None:
    told = story()
    lines = shown(told)
    assert lines[0] == "workflow-1  (inline)  RUNNING  from 2026-01-01T00:00:00.000Z"
    assert lines[1:4] == [
        "request r",
        "caller  order-17, activity a",
        "usage   2 model calls, 1,200 tokens in, 30 out, $0.5000",
    ]
    rows = lines[6:10]
    assert [next(w for w in ("caller", "workflow", "engine") if w in row) for row in rows] == [
        "caller",
        "workflow",
        "workflow",
        "engine",
    ]
    assert rows[0].endswith("0123456789ab")
    assert "attempt 2" in rows[0]
    assert "●" in rows[0]
    assert rows[1].split()[:2] == ["+20", "ms"]
    assert rows[2].split()[:5] == ["+1.0", "s", "2", "min", "30"]
    assert rows[3].split()[:4] == ["+2", "h", "01", "min"]
    assert "▶" in rows[3]
    assert rows[3].endswith("the engine runs it  goes on")
    assert lines[-2:] == [
        "The caller's part is missing: it is past retention.",
        "The oldest calls were left out.",
    ]
    assert shown(pb.ExecutionTimeline(execution_id="agent-1", phase="FAILED"))[0].startswith(
        "agent-1  (inline)  FAILED"
    )


def test_tool_calls_are_seen_at_a_glance() -> None:
    told = story()
    told.usage.tool_calls, told.usage.unmeasured_calls = 1, 2
    call = "tool call 1-1, find on task queue orders"
    told.entries.append(
        entry(pb.TIMELINE_STEP_TOOL_CALL, 2, title=call, detail="ERROR, NotFound", failed=True)
    )
    lines = shown(told, None)
    assert lines[3] == (
        "usage   2 model calls, 1 tool call, 1,200 tokens in, "
        "30 out (estimated for 2 calls), $0.5000"
    )
    [row] = [line for line in lines if call in line]
    assert " tool " in row
    assert row.endswith(f"{call}  ERROR, NotFound")


def test_what_people_said_is_seen_at_a_glance() -> None:
    told = story()
    waits = "waits for the approval of refund (call 2-1)"
    told.entries.append(entry(pb.TIMELINE_STEP_INPUT_REQUIRED, 2, title=waits, open=True))
    sent = "a message from alice"
    told.entries.append(entry(pb.TIMELINE_STEP_MESSAGE_RECEIVED, 3, title=sent))
    rows = [line for line in shown(told, None) if " people " in line]
    assert [row.endswith(text) for row, text in zip(rows, (f"{waits}  goes on", sent), strict=True)]


def test_an_attempt_under_way_is_named_once() -> None:
    told = story()
    for detail in ("its worker was lost, attempt 2 is under way", "last attempt: INTERNAL"):
        added = entry(pb.TIMELINE_STEP_DOCUMENT_CALL, 2, title="HTTP call /do/0", detail=detail)
        added.open, added.attempt = True, 2
        told.entries.append(added)
    rows = [line for line in shown(told, None) if "HTTP call" in line]
    assert rows[0].endswith("HTTP call /do/0  its worker was lost, attempt 2 is under way")
    # An API of an older release leaves it to the command.
    assert rows[1].endswith("HTTP call /do/0  last attempt: INTERNAL, attempt 2, goes on")


def test_executions_that_wait_for_a_person_are_shown_but_not_wrong() -> None:
    asked = pb.StuckExecution(execution_id="agent-1", reason=pb.STUCK_REASON_INPUT_REQUIRED)
    later = pb.StuckExecution(execution_id="agent-2", reason=99)  # type: ignore[arg-type] # later
    found = pb.ListStuckExecutionsResponse(executions=[asked, later], examined=2, open=9)
    assert stuck.wrong(found) == [later]
    assert stuck.summary(found) == (
        "9 open, 1 stuck, 1 waiting for people (7 too young or too many to be looked at)"
    )
    del found.executions[1:]
    assert stuck.summary(found).startswith("9 open, none stuck, 1 waiting for people")
    assert stuck.summary(pb.ListStuckExecutionsResponse()) == "0 open, none stuck"
