"""Timers and calls of a run are named in its history: tasks, uses, and which try it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_FAILED,
    AgentExecutionStatus,
    Failure,
)
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_STEP_LIMIT

_TIMER_STARTED = EventType.EVENT_TYPE_TIMER_STARTED

TIMERS = """
    do:
    - pause: {wait: {seconds: 1}}
    - order:
        try: [{fail: {raise: {error: {type: 'https://example.com/x', status: 500}}}}]
        catch: {retry: {delay: {seconds: 1}, limit: {attempt: {count: 1}}}, do: []}
    - caught:
        try:
        - slow: {timeout: {after: {seconds: 1}}, wait: {seconds: 30}}
        catch: {do: []}
    - short:
        try:
        - slow: {timeout: {after: {milliseconds: 20}}, wait: {seconds: 30}}
        catch: {do: []}
    - nap: {wait: {milliseconds: 20}}
"""


async def test_timers_are_named_by_their_tasks(engine: Any) -> None:
    handle = await engine.start(engine.document(TIMERS))
    await handle.result()
    history = await handle.fetch_history()
    assert _summaries(history, _TIMER_STARTED) == [
        "wait /do/0/pause",
        "retry /do/1/order (try 2 of 2)",
        "timeout /do/2/caught/try/0/slow",
    ]
    assert _summaries(history, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) == [
        "timeout /do/3/short/try/0/slow",
        "wait /do/4/nap",
    ]


@pytest.mark.parametrize("new_options", [None, lambda: None], ids=["absent", "takes no metadata"])
async def test_another_sdk_has_timers_without_names(
    engine: Any, monkeypatch: pytest.MonkeyPatch, new_options: Any
) -> None:
    monkeypatch.setattr("zigflow_worker.execution.named_timers._new_options", new_options)
    handle = await engine.start(engine.document("do: [{pause: {wait: {seconds: 1}}}]"))
    await handle.result()
    history = await handle.fetch_history()
    assert [each.event_type for each in history.events].count(_TIMER_STARTED) == 1
    assert _summaries(history, _TIMER_STARTED) == []


async def test_the_document_s_timeout_is_named_where_it_comes_first(engine: Any) -> None:
    body = "timeout: {after: {seconds: 1}}\n    do: [{pause: {wait: {seconds: 30}}}]"
    handle = await engine.start(engine.document(f"\n    {body}\n"))
    await engine.fault_of(handle)
    history = await handle.fetch_history()
    assert _summaries(history, _TIMER_STARTED) == ["timeout /"]


async def test_calls_that_are_retries_say_which_try_they_are(engine: Any, api: Any) -> None:
    api.ending = AgentExecutionStatus(
        phase=AGENT_EXECUTION_PHASE_FAILED,
        failure=Failure(reason=FAILURE_REASON_STEP_LIMIT, message="too many steps"),
    )
    body = """
    do:
    - bounded:
        try:
        - inner:
            try: [{ask: {call: agent, with: {agent: bounded, message: hello}}}]
            catch: {errors: {with: {status: 404}}, do: []}
        catch: {retry: {limit: {attempt: {count: 2}}}, do: []}
    - endless:
        try:
        - both:
            fork:
              branches:
              - one: {call: agent, with: {agent: endless, message: hello}}
        catch: {retry: {limit: {duration: {milliseconds: 1}}, delay: {milliseconds: 1}}, do: []}
    - once: {call: agent, with: {agent: once, message: hello}}
    """
    handle = await engine.start(engine.document(body))
    await engine.fault_of(handle)
    summaries = _summaries(
        await handle.fetch_history(), EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    )
    bounded = "bounded /do/0/bounded/try/0/inner/try/0/ask"
    assert summaries[:3] == [bounded, f"{bounded} (try 2 of 3)", f"{bounded} (try 3 of 3)"]
    assert "endless /do/1/endless/try/0/both/fork/branches/0/one" in summaries
    assert summaries[-1] == "once /do/2/once"


def _summaries(history: WorkflowHistory, kind: EventType.ValueType) -> list[str]:
    """The summaries of the events of a type that have one, in order."""
    data = [each.user_metadata.summary.data for each in history.events if each.event_type == kind]
    return [json.loads(each) for each in data if each]
