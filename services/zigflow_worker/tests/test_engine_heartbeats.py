"""Heartbeats of calls: they end with the call, and a failure of theirs is seen."""

from __future__ import annotations

import asyncio

import pytest
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


@pytest.mark.parametrize("failing", [False, True])
async def test_their_failure_is_raised_unless_the_call_failed(
    monkeypatch: pytest.MonkeyPatch, *, failing: bool
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0)
    environment = ActivityEnvironment()
    beaten = asyncio.Event()

    def beat(*_details: object) -> None:
        beaten.set()
        raise ConnectionError

    async def call() -> None:
        async with heartbeats():
            await beaten.wait()
            if failing:
                raise ValueError

    environment.on_heartbeat = beat
    with pytest.raises(ValueError if failing else ConnectionError):
        await environment.run(call)
