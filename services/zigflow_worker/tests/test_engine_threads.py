"""CPU work in threads, which end though nobody waits for them any more."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress

import pytest

from zigflow_worker.threads import run_in_thread


async def test_a_thread_gives_its_result_and_its_error() -> None:
    assert await run_in_thread(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(ValueError, match="invalid literal"):
        await run_in_thread(int, "x")


async def test_cancels_wait_for_the_end() -> None:
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        ended.wait(10)
        raise ValueError

    running = asyncio.create_task(run_in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not running.done()
    ended.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_error_leaves_nothing_of_what_its_work_had() -> None:
    """At once, without the garbage collector: it may be megabytes."""

    class Data:
        pass

    kept: list[weakref.ref[Data]] = []

    def work() -> None:
        data = Data()
        kept.append(weakref.ref(data))
        raise ValueError

    gc.disable()
    try:
        with suppress(ValueError):
            await run_in_thread(work)
        async with asyncio.timeout(60):
            while kept[0]() is not None:  # noqa: ASYNC110 - of a thread that is about to end
                await asyncio.sleep(0.001)
    finally:
        gc.enable()
