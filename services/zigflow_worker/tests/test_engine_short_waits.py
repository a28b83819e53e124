"""Waits, delays and timeouts below a second are exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

# A shared core: on a quiet machine it is 20 ms.
_LATE = 0.25


@pytest.mark.parametrize("milliseconds", [20, 300, 900])
async def test_a_short_wait_is_exact(engine: Any, milliseconds: int) -> None:
    body = f"do: [{{nap: {{wait: {{milliseconds: {milliseconds}}}}}}}]"
    handle = await engine.start(engine.document(body))
    await handle.result()
    waited = await _waited(handle)
    assert milliseconds / 1000 <= waited <= milliseconds / 1000 + _LATE


async def test_the_delay_of_a_retry_is_exact(engine: Any) -> None:
    body = """
    do:
    - again:
        try: [{fail: {raise: {error: {type: 'https://example.com/x', status: 500}}}}]
        catch: {retry: {delay: {milliseconds: 200}, limit: {attempt: {count: 2}}}, do: []}
    """
    handle = await engine.start(engine.document(body))
    await handle.result()
    assert 0.4 <= await _waited(handle) <= 0.4 + 2 * _LATE


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
    assert 0.5 <= await _waited(handle) <= 0.5 + _LATE


async def test_many_short_waits_take_no_slot(engine: Any) -> None:
    """A hundred and fifty at once: more than the engine works on workflow tasks at a time."""
    body = engine.document("do: [{nap: {wait: {milliseconds: 900}}}]")
    handles = await asyncio.gather(*(engine.start(body) for _ in range(150)))
    await asyncio.gather(*(handle.result() for handle in handles))
    waits = [await _waited(handle) for handle in handles[:20]]
    assert min(waits) >= 0.9


async def test_a_long_wait_is_a_timer(engine: Any) -> None:
    handle = await engine.start(engine.document("do: [{nap: {wait: {seconds: 1}}}]"))
    await handle.result()
    history = await handle.fetch_history()
    kinds = Counter(event.event_type for event in history.events)
    assert kinds[EventType.EVENT_TYPE_TIMER_STARTED] == 1
    assert kinds[EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED] == 0


async def _waited(handle: WorkflowHandle[Any, Any]) -> float:
    """Seconds from the first workflow task to the last, in which nothing else takes time."""
    times = [
        event.event_time.ToNanoseconds() / 1e9
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    ]
    return times[-1] - times[0]
