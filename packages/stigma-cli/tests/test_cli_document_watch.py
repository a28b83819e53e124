"""Calls and timers of a document as watches show them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_KIND_AGENT,
    DOCUMENT_CALL_KIND_GRPC,
    DOCUMENT_CALL_KIND_HTTP,
    DOCUMENT_CALL_OUTCOME_CANCELLED,
    DOCUMENT_CALL_OUTCOME_FAILED,
    DOCUMENT_CALL_OUTCOME_OK,
    DOCUMENT_CALL_OUTCOME_TIMED_OUT,
    DOCUMENT_TIMER_KIND_RETRY,
    DOCUMENT_TIMER_KIND_TIMEOUT,
    DOCUMENT_TIMER_KIND_WAIT,
    DocumentCall,
    WatchWorkflowExecutionResponse,
)
from stigma_cli.errors import Exit
from stigma_cli.execution_text import describe
from stigma_cli.quiet_executions import calls_text
from tests.stack.command_line import running_stigma

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: called}
spec: {model: 'scripted:test', script: {steps: [{text: done}]}}
"""
CALLS = """\
document: {dsl: '1.0.3', namespace: test, name: calls, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: called, message: hi}}
  - tolerate:
      try:
        - lose: {call: http, with: {method: get, endpoint: 'http://127.0.0.1:1'}}
      catch: {do: [{mend: {set: {a: 1}}}]}
"""
ORDER = DocumentCall(kind=DOCUMENT_CALL_KIND_HTTP, task="/do/1/order")
REVIEWER = DocumentCall(kind=DOCUMENT_CALL_KIND_AGENT, agent="reviewer")
TIMER = {"fire_time": {"seconds": 1_800_000_000}}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"call_started": {"call": ORDER}}, "HTTP call /do/1/order"),
        (
            {
                "call_ended": {
                    "call": ORDER,
                    "outcome": DOCUMENT_CALL_OUTCOME_FAILED,
                    "error": "communication",
                    "status": 503,
                    "attempt": 2,
                }
            },
            "HTTP call /do/1/order: FAILED, communication, status 503, attempt 2",
        ),
        ({"call_started": {"call": REVIEWER}}, "call of agent reviewer"),
        (
            {
                "call_ended": {
                    "call": REVIEWER,
                    "outcome": DOCUMENT_CALL_OUTCOME_OK,
                    "execution_id": "agent-1",
                    "attempt": 1,
                }
            },
            "call of agent reviewer: OK, execution agent-1",
        ),
        (
            {
                "call_ended": {
                    "call": DocumentCall(kind=DOCUMENT_CALL_KIND_AGENT),
                    "outcome": DOCUMENT_CALL_OUTCOME_CANCELLED,
                }
            },
            "call of agent (inline): CANCELLED",
        ),
        (
            {
                "call_started": {
                    "call": DocumentCall(
                        kind=DOCUMENT_CALL_KIND_AGENT, agent="reviewer", task="/do/1"
                    )
                }
            },
            "call of agent reviewer /do/1",
        ),
        (
            {"call_started": {"call": DocumentCall(kind=DOCUMENT_CALL_KIND_GRPC, task="…k/ask")}},
            "gRPC call …k/ask",
        ),
        (
            {"call_started": {"call": {"kind": 2, "task": "/do/1", "try_number": 2}}},
            "HTTP call /do/1, try 2",
        ),
        (
            {
                "call_ended": {
                    "call": {"kind": 2, "task": "/do/1", "try_number": 3, "max_tries": 4},
                    "outcome": DOCUMENT_CALL_OUTCOME_TIMED_OUT,
                    "error": "timeout",
                    "status": 408,
                }
            },
            "HTTP call /do/1, try 3 of 4: TIMED_OUT, timeout, status 408",
        ),
        (
            {
                "timer_started": {
                    "timer": {
                        "fire_time": {"seconds": 1_800_000_000},
                        "after": {"kind": DOCUMENT_CALL_KIND_AGENT, "agent": "a", "task": "/do/1"},
                        "kind": DOCUMENT_TIMER_KIND_RETRY,
                        "task": "/do",
                        "try_number": 2,
                        "max_tries": 3,
                    }
                }
            },
            "timer up to 2027-01-15T08:00:00Z before try 2 of 3 of /do after the failed call of "
            "agent a /do/1",
        ),
        (
            {"timer_started": {"timer": {"kind": DOCUMENT_TIMER_KIND_WAIT, "task": "/do/2"}}},
            "timer up to 1970-01-01T00:00:00Z of the wait /do/2",
        ),
        (
            {"timer_ended": {"timer": {"kind": DOCUMENT_TIMER_KIND_TIMEOUT, "task": "/"}}},
            "timer up to 1970-01-01T00:00:00Z of the document's timeout is not waited for any more",
        ),
        (
            {"timer_started": {"timer": {"kind": 99, "task": "/do/2"}}},
            "timer up to 1970-01-01T00:00:00Z",
        ),
        ({"timer_started": {"timer": TIMER}}, "timer up to 2027-01-15T08:00:00Z"),
        (
            {
                "timer_started": {
                    "timer": {
                        "fire_time": {"seconds": 1_800_000_000},
                        "after": {"kind": DOCUMENT_CALL_KIND_AGENT, "agent": "a", "task": "/do/1"},
                    }
                }
            },
            "timer up to 2027-01-15T08:00:00Z after the failed call of agent a /do/1",
        ),
        (
            {"timer_ended": {"timer": TIMER, "fired": True}},
            "timer up to 2027-01-15T08:00:00Z fired",
        ),
        (
            {"timer_ended": {"timer": TIMER}},
            "timer up to 2027-01-15T08:00:00Z is not waited for any more",
        ),
        ({}, "something this release of the command does not know"),
    ],
)
def test_an_event_of_a_document_is_a_line(event: dict[str, Any], text: str) -> None:
    assert describe(WatchWorkflowExecutionResponse(**event)) == text


def test_calls_under_way_are_waited_for() -> None:
    """Those of which no more is known than that they started have been told of."""

    def call(title: str, detail: str = "", *, open: bool = True) -> pb.TimelineEntry:  # noqa: A002
        step = pb.TIMELINE_STEP_DOCUMENT_CALL
        return pb.TimelineEntry(step=step, title=title, detail=detail, open=open)

    calls = [call("HTTP call /a"), call("call of agent b", "execution agent-1", open=False)]
    assert calls_text(pb.ExecutionTimeline(entries=calls)) == ""
    calls += [call(f"call of agent {n}", f"execution agent-{n}") for n in "2345"]
    waits = (
        "it waits for the call of agent 2: execution agent-2; the call of agent 3: execution "
        "agent-3; the call of agent 4: execution agent-4; 1 more"
    )
    assert calls_text(pb.ExecutionTimeline(entries=calls)) == waits
    calls += [
        pb.TimelineEntry(step=pb.TIMELINE_STEP_DOCUMENT_TIMER, title=f"timer up to {at}", open=open)
        for at, open in (("9", True), ("7", False), ("8", True))  # noqa: A001
    ]
    assert calls_text(pb.ExecutionTimeline(entries=calls)) == f"{waits}; a timer up to 8"


async def test_a_document_that_is_quiet_is_said_to_wait(
    stigma: Stigma, stack: Stack, tmp_path: Path
) -> None:
    env = {"STIGMA_API_ADDRESS": stack.api_address}
    slow = AGENT.replace("called", "slow").replace("text: done", "text: done, delay: PT600S")
    calls = CALLS.partition("  - tolerate")[0].replace("called", "slow").replace("calls", "slow")
    for kind, text in (("agent", slow), ("workflow", calls)):
        (tmp_path / f"{kind}.yaml").write_text(text)
        applied = await stigma(kind, "apply", "-f", tmp_path / f"{kind}.yaml", **env)
        assert applied.exit_code == Exit.OK, applied.output
    execution = (await stigma("workflow", "start", "slow", **env)).output.strip()
    watch = ("execution", "watch", execution)
    async with running_stigma(*watch, environment=os.environ | env) as watching:
        note = await watching.note()
    got = await stigma("execution", "get", execution, "-o", "json", **env)
    [step] = json.loads(got.stdout)["status"]["pendingSteps"]
    call = f"the call of agent slow /do/0/ask: execution {step['executionId']}"
    assert note == f"stigma: it waits for {call}\n"
    await stigma("execution", "cancel", execution, **env)


async def test_watching_shows_calls_or_the_tasks_that_make_them(
    stigma: Stigma, stack: Stack, tmp_path: Path
) -> None:
    env = {"STIGMA_API_ADDRESS": stack.api_address}
    for kind, text in (("agent", AGENT), ("workflow", CALLS)):
        (tmp_path / f"{kind}.yaml").write_text(text)
        applied = await stigma(kind, "apply", "-f", tmp_path / f"{kind}.yaml", **env)
        assert applied.exit_code == Exit.OK, applied.output
    start = ("workflow", "start", "calls", "--request-id", "watched-calls", "--watch")
    temporal = {"TEMPORAL_ADDRESS": stack.temporal_address, "TEMPORAL_NAMESPACE": stack.namespace}
    tasks = await stigma(*start, **env, **temporal)
    assert tasks.exit_code == Exit.OK, tasks.output
    assert "ask " in tasks.stdout
    assert "call of agent" not in tasks.stdout

    away = await stigma(*start, **env, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert "tasks are not shown" in away.stderr
    execution, *shown = away.stdout.splitlines()
    watched = await stigma("execution", "watch", execution, **env)
    assert watched.stdout.splitlines() == shown
    lines = [line.partition("  ")[2] for line in shown]
    assert lines[2] == "call of agent called /do/0/ask"
    assert lines[3].startswith("call of agent called /do/0/ask: OK, execution agent-")
    failing = "HTTP call /do/1/tolerate/try/0/lose"
    assert lines[4] == failing
    # The stack's engine calls nothing on its own machine.
    assert lines[5] == f"{failing}: FAILED, authorization, status 403"
    streamed = await stigma("execution", "watch", execution, "-o", "json", **env)
    events = [json.loads(line) for line in streamed.stdout.splitlines()]
    assert events[2]["callStarted"]["call"]["kind"] == "DOCUMENT_CALL_KIND_AGENT"
    assert events[2]["callStarted"]["call"]["id"] == events[3]["callEnded"]["call"]["id"]
