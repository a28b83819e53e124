"""Heartbeats of calls: they end with the call, and a failure of theirs is seen in the log alone."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs
from temporalio.testing import ActivityEnvironment

from zigflow_worker.activities import heartbeats as module
from zigflow_worker.activities.heartbeats import heartbeats


async def test_nothing_is_left_of_them_when_a_call_has_ended() -> None:
    async def call() -> set[asyncio.Task[object]]:
        before = asyncio.all_tasks()
        async with heartbeats():
            await asyncio.sleep(0)
        return asyncio.all_tasks() - before

    assert await ActivityEnvironment().run(call) == set()


async def test_their_failure_is_logged_and_does_not_fail_a_call_that_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0)
    environment = ActivityEnvironment()
    beaten = asyncio.Event()

    def beat(*_details: object) -> None:
        beaten.set()
        raise ConnectionError

    async def call() -> str:
        async with heartbeats():
            await beaten.wait()
            return "made"

    environment.on_heartbeat = beat
    with capture_logs() as logged:
        assert await environment.run(call) == "made"
    assert [(one["event"], one["reason"]) for one in logged] == [
        ("heartbeat_broke", "ConnectionError")
    ]
