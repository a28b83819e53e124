"""Waits, delays and timeouts below a second are exact."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle, WorkflowHistory

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecutionStatus,
    AgentOutput,
)
from stigma.contracts.engine_calls import WAIT_EXACTLY
from zigflow_worker.execution.short_waits import MAX_SHORT_WAITS, ShortWaits

_TIMER = 0.98
"""Seconds that the shortest timer takes, also on a machine that has nothing else to do."""


async def test_a_short_wait_is_shorter_than_a_timer(engine: Any) -> None:
    handle = await engine.start(engine.document("do: [{nap: {wait: {milliseconds: 20}}}]"))
    await handle.result()
    assert await _waits(handle) == pytest.approx([0.02], abs=0.005)
    assert 0.02 <= await _waited(handle) < _TIMER


async def test_the_delay_of_a_retry_is_exact(engine: Any) -> None:
    body = """
    do:
    - again:
        try: [{fail: {raise: {error: {type: 'https://example.com/x', status: 500}}}}]
        catch: {retry: {delay: {milliseconds: 200}, limit: {attempt: {count: 2}}}, do: []}
    """
    handle = await engine.start(engine.document(body))
    await handle.result()
    assert await _waits(handle) == pytest.approx([0.2, 0.2], abs=0.005)
    assert await _waited(handle) >= 0.4


async def test_a_short_timeout_of_an_agent_is_exact(engine: Any, api: Any) -> None:
    body = """
    do:
    - slow:
        timeout: {after: {milliseconds: 500}}
        call: agent
        with: {agent: never, message: hello}
    """
    handle = await engine.start(engine.document(body))
    error = await engine.fault_of(handle)
    assert error["type"].endswith("/timeout")
    [entry] = await handle.query("trace")
    took = datetime.fromisoformat(entry["ended"]) - datetime.fromisoformat(entry["started"])
    assert took.total_seconds() >= 0.5
    assert await _waits(handle) == pytest.approx([0.5], abs=0.005)


async def test_many_short_waits_take_no_slot(engine: Any) -> None:
    """A hundred and ten at once: more than the engine works on workflow tasks at a time."""
    body = engine.document("do: [{nap: {wait: {milliseconds: 900}}}]")
    handles = await asyncio.gather(*(engine.start(body) for _ in range(110)))
    await asyncio.gather(*(handle.result() for handle in handles))
    waits = [await _waited(handle) for handle in handles[:20]]
    assert min(waits) >= 0.9


async def test_a_long_wait_is_a_timer(engine: Any) -> None:
    handle = await engine.start(engine.document("do: [{nap: {wait: {seconds: 1}}}]"))
    await handle.result()
    assert await _waits(handle) == []


async def test_a_short_timeout_that_is_not_reached_changes_nothing(
    engine: Any, api: Any, short_waits: asyncio.Event
) -> None:
    api.ending = AgentExecutionStatus(
        phase=AGENT_EXECUTION_PHASE_COMPLETED, output=AgentOutput(json='{"done": true}')
    )
    body = """
    do:
    - quick:
        timeout: {after: {milliseconds: 900}}
        call: agent
        with: {agent: quick, message: hello}
    - nap: {wait: {seconds: 1}}
    """
    handle = await engine.start(engine.document(body))
    async with asyncio.timeout(60):
        while "/do/1/nap" not in (await handle.query("status"))["tasks"]:
            pass
    short_waits.set()
    assert await handle.result() == {"done": True}


async def test_a_branch_that_loses_leaves_its_wait(engine: Any) -> None:
    body = """
    do:
    - race:
        fork:
          compete: true
          branches:
          - slow: {do: [{pause: {wait: {milliseconds: 900}}}, {lost: {set: {winner: slow}}}]}
          - quick: {do: [{pause: {wait: {milliseconds: 50}}}, {won: {set: {winner: quick}}}]}
    - nap: {wait: {seconds: 1}}
    """
    assert await engine.run(body) == {"winner": "quick"}


async def test_more_short_waits_than_a_run_may_have_activities(engine: Any) -> None:
    """Temporal refuses a workflow's activities beyond 2,000, and the workflow task with them."""
    handle = await engine.start(_many({"wait": {"milliseconds": 900}}, 2_100))
    assert await handle.result() == 2_100
    waits = [len(_waits_in(history)) async for history in engine.histories()]
    assert sum(waits) == MAX_SHORT_WAITS


async def test_a_wait_that_was_cancelled_counts_until_it_is_over() -> None:
    waits = ShortWaits()
    for _ in range(MAX_SHORT_WAITS - 1):
        waits.abandon(100.0, 0.5)
    assert not waits.are_many(100.0)
    running = asyncio.create_task(asyncio.sleep(0))
    waits.add(running)
    assert waits.are_many(105.4)
    await running
    await asyncio.sleep(0)
    assert not waits.are_many(105.4)
    waits.abandon(105.4, 0.5)
    assert waits.are_many(105.4)
    assert not waits.are_many(105.5)


def _many(task: Any, count: int) -> str:
    """A document whose branches do a task, so many at a time: a hundred by each function."""
    functions = {"hundred": {"fork": {"branches": [{f"b{each}": task} for each in range(100)]}}}
    callers = [{f"f{each}": {"call": "hundred"}} for each in range(count // 100)]
    work = {"fork": {"branches": callers}, "output": {"as": "${ map(length) | add }"}}
    return json.dumps(
        {
            "document": {
                "dsl": "1.0.3",
                "namespace": "test",
                "name": "example",
                "version": "1.0.0",
            },
            "use": {"functions": functions},
            "do": [{"all": work}],
        }
    )


async def _waited(handle: WorkflowHandle[Any, Any]) -> float:
    """Seconds from the first workflow task to the last, in which nothing else takes time."""
    times = [
        event.event_time.ToNanoseconds() / 1e9
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    ]
    return times[-1] - times[0]


async def _waits(handle: WorkflowHandle[Any, Any]) -> list[float]:
    """Seconds of each short wait of a run."""
    return _waits_in(await handle.fetch_history())


def _waits_in(history: WorkflowHistory) -> list[float]:
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return [
        json.loads(activity.input.payloads[0].data)
        for activity in scheduled
        if activity.activity_type.name == WAIT_EXACTLY
    ]
