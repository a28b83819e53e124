"""Memory that calls hold together: they wait for it, and always get it."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from stigma.contracts.payloads import json_payload
from zigflow_worker.activities.calls import OutgoingCalls
from zigflow_worker.outgoing.memory import UNCOUNTED_BYTES, CallMemory, MemoryBudget
from zigflow_worker.settings import EngineSettings
from zigflow_worker.worker import http_client, outgoing_calls, rpc_client

from .web_server import WebServer

MIB = 1024 * 1024


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is inside another one's code has no event
            await asyncio.sleep(0.001)


def counted(size: int) -> int:
    """Bytes of a response of which so many count."""
    return UNCOUNTED_BYTES + size


async def test_a_call_takes_the_place_of_one_that_does_not_wait_any_longer() -> None:
    budget = MemoryBudget(80)
    first, second, third = (budget.new_call() for _ in range(3))
    await first.hold_response(counted(20), "a")
    given_up = asyncio.create_task(second.hold_response(counted(20), "b"))
    waiting = asyncio.create_task(third.hold_response(counted(10), "c"))
    await until(lambda: budget.responses.waiting == 2)
    given_up.cancel()
    await waiting
    assert (second.counted, third.counted, budget.responses.free) == (0, 10, 0)


async def test_calls_that_grow_all_end_and_stay_within_the_total() -> None:
    """Each holds a request while it waits for its response, and both while it waits to decode."""
    budget = MemoryBudget(8 * MIB)
    calls = [budget.new_call() for _ in range(20)]
    most = 0

    async def make(number: int, call: CallMemory) -> None:
        nonlocal most
        await call.wait_for_request(MIB, f"server-{number % 3}")
        await asyncio.sleep(0)
        await call.hold_response(MIB, f"server-{number % 3}")
        most = max(most, sum(each.counted for each in calls))
        await call.decode_response(MIB)
        await asyncio.sleep(0)
        call.release()

    async with asyncio.timeout(60):
        await asyncio.gather(*(make(number, call) for number, call in enumerate(calls)))
    assert 2 * MIB < most <= 12 * MIB, "a result that is alone may be more"
    assert (budget.requests.free, budget.responses.free, budget.results.free) == (
        *(3 * MIB, 3 * MIB),
        2 * MIB,
    )


async def test_two_large_calls_decode_at_a_time_beside_small_ones() -> None:
    budget = MemoryBudget(1024 * MIB)
    first, second, third, small = (budget.new_call() for _ in range(4))
    await first.decode_request(MIB)
    await second.decode_response(MIB)
    waiting = asyncio.create_task(third.decode_response(MIB))
    await small.decode_response(10)
    assert not waiting.done()
    second.keep_result(MIB // 2)
    await waiting
    assert second.counted == 4 * MIB // 2 - UNCOUNTED_BYTES
    next_one = asyncio.create_task(second.decode_request(MIB))
    await first.hold_response(1, "a")  # nobody waits for bytes while it decodes
    await next_one


async def test_a_call_holds_its_result_until_its_activity_ends(
    calls: OutgoingCalls, web: WebServer
) -> None:
    free = calls._memory.results.free
    web.answer("/large", b"y" * MIB, media_type="text/plain")
    result, left = await _run(calls, _payload({"method": "get", "endpoint": f"{web.url}/large"}))
    assert result.payload.data.endswith(b'y"}')
    assert free - left == pytest.approx(4 * MIB - UNCOUNTED_BYTES, rel=0.01)
    await until(lambda: calls._memory.results.free == free)


async def test_between_request_and_response_nothing_decoded_is_left(
    calls: OutgoingCalls, web: WebServer
) -> None:
    marker = str(uuid.uuid4())
    found: list[Any] = []

    async def look(request: Request) -> Response:
        gc.collect()
        found.extend(
            each for each in gc.get_objects() if isinstance(each, list) and marker in each[:1]
        )
        return Response(await request.body(), media_type="application/json")

    web.routes["/look"] = look
    body = [marker, [], [{}]]
    payload = _payload({"method": "post", "endpoint": f"{web.url}/look", "body": body})
    del body
    result, _ = await _run(calls, payload)
    assert marker.encode() in result.payload.data
    assert not found


@pytest.mark.parametrize("body", ['["{}", 1', '["{}", {}]'.format("{}", "[" * 600 + "]" * 600)])
async def test_a_call_that_failed_leaves_nothing_decoded(
    calls: OutgoingCalls, web: WebServer, body: str
) -> None:
    """At once, without the garbage collector: calls that fail are not few."""
    marker = str(uuid.uuid4())
    web.answer("/", body.format(marker), media_type="application/json")
    payload = _payload({"method": "post", "endpoint": web.url, "body": [marker]})
    gc.collect()
    gc.disable()
    try:
        with suppress(ApplicationError):
            await _run(calls, payload)
        await until(lambda: not _lists_with(marker))
    finally:
        gc.enable()


def test_the_setting_is_the_budget() -> None:
    settings = EngineSettings(outgoing_max_total_bytes=80 * MIB)
    client, rpc = http_client(settings), rpc_client(settings)
    memory = outgoing_calls(settings, client, rpc)._memory
    assert (memory.requests.free, memory.responses.free) == (30 * MIB, 30 * MIB)
    assert memory.results.free == 20 * MIB
    rpc.close()


def _lists_with(marker: str) -> list[Any]:
    return [each for each in gc.get_objects() if isinstance(each, list) and marker in each[:1]]


def _payload(arguments: Any) -> RawValue:
    return RawValue(json_payload({"reference": "/do/0/call", "arguments": arguments}))


async def _run(calls: OutgoingCalls, request: RawValue) -> tuple[RawValue, int]:
    """The result of an activity, and what was left of the budget when it returned."""

    async def run() -> tuple[RawValue, int]:
        return await calls.call_http(request), calls._memory.results.free

    return await ActivityEnvironment().run(run)
