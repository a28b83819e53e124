"""Memory that calls hold together: they wait for it, and always get it."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from temporalio.common import RawValue
from temporalio.testing import ActivityEnvironment

from stigma.contracts import limits
from stigma.contracts.payloads import json_payload
from zigflow_worker.activities.calls import OutgoingCalls
from zigflow_worker.activities.http_call import HttpCall
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.memory import UNCOUNTED_BYTES, CallMemory, MemoryBudget
from zigflow_worker.settings import EngineSettings
from zigflow_worker.worker import http_client, outgoing_calls, rpc_client

from .http_calls import evaluated, unauthenticated
from .web_server import WebServer

MIB = 1024 * 1024
LARGEST = 7 * limits.MAX_PAYLOAD_BYTES
"""The most that one call may hold."""


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is inside another one's code has no event
            await asyncio.sleep(0.001)


def counted(size: int) -> int:
    """Bytes of a response of which so many count."""
    return UNCOUNTED_BYTES + size


async def test_calls_wait_in_order_for_those_that_have_memory() -> None:
    budget = MemoryBudget(LARGEST + 10)
    first, borrower, large, small, unnoticed = (budget.new_call() for _ in range(5))
    await first.hold_response(counted(10))
    await borrower.hold_response(counted(10))
    assert (first.borrowed, borrower.borrowed) == (0, 10)
    waiting = [
        asyncio.create_task(large.hold_response(counted(8))),
        asyncio.create_task(small.hold_response(counted(1))),
    ]
    await unnoticed.hold_response(UNCOUNTED_BYTES)
    await borrower.hold_response(counted(30))
    await first.hold_response(counted(5))
    assert not any(task.done() for task in waiting), "the first one needs eight"
    await first.hold_response(counted(1))
    await asyncio.gather(*waiting)
    assert (large.counted, small.counted) == (8, 1)
    for call in (first, borrower, large, small):
        call.release()
    await first.hold_response(counted(10))
    assert not first.borrowed


async def test_a_call_that_does_not_wait_any_longer_lets_others_go_on() -> None:
    budget = MemoryBudget(LARGEST + 10)
    first, borrower, large, small = (budget.new_call() for _ in range(4))
    await first.hold_response(counted(9))
    await borrower.hold_response(counted(2))
    given_up = asyncio.create_task(large.hold_response(counted(5)))
    waiting = asyncio.create_task(small.hold_response(counted(1)))
    await until(lambda: len(budget._waiting) == 2)
    given_up.cancel()
    await waiting
    assert (large.counted, small.counted) == (0, 1)
    assert not budget._waiting


async def test_calls_that_grow_all_end_and_stay_within_the_total() -> None:
    budget = MemoryBudget(LARGEST + MIB)
    calls = [budget.new_call() for _ in range(20)]
    most = 0

    async def grow(call: CallMemory) -> None:
        nonlocal most
        for step in range(1, 9):
            await call.hold_response(counted(step * 128 * 1024))
            most = max(most, sum(each.counted for each in calls))
            await asyncio.sleep(0)
        call.release()

    async with asyncio.timeout(10):
        await asyncio.gather(*map(grow, calls))
    assert MIB < most <= LARGEST + MIB
    assert (budget._free, budget._borrower) == (MIB, None)


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
    await first.hold_response(1)  # nobody waits for bytes while it decodes
    await next_one


async def test_a_response_waits_for_the_one_before(client: HttpClient, web: WebServer) -> None:
    budget, rest = MemoryBudget(0), asyncio.Event()
    first, second, third = (budget.new_call() for _ in range(3))

    async def slow(_: Request) -> Response:
        async def parts() -> Any:
            yield b"x" * MIB
            await rest.wait()

        return StreamingResponse(parts(), media_type="text/plain")

    def call(path: str, memory: CallMemory) -> asyncio.Task[Any]:
        arguments = {"method": "get", "endpoint": f"{web.url}{path}"}
        made = HttpCall(client, unauthenticated).call(evaluated(arguments, memory=memory))
        return asyncio.create_task(made)

    web.routes["/slow"] = slow
    web.answer("/large", b"y" * MIB, media_type="text/plain")
    web.answer("/small", b"z" * 100, media_type="text/plain")
    slow_call = call("/slow", first)
    await until(lambda: first.borrowed)
    large_call = call("/large", second)
    await until(lambda: budget._waiting)
    assert (await call("/small", third)).output == "z" * 100
    assert not large_call.done()
    rest.set()
    assert (await slow_call).output == "x" * MIB
    first.release()
    assert (await large_call).output == "y" * MIB


async def test_a_call_holds_its_result_until_its_activity_ends(
    calls: OutgoingCalls, web: WebServer
) -> None:
    free = calls._memory._free
    web.answer("/large", b"y" * MIB, media_type="text/plain")
    result, left = await _run(calls, _payload({"method": "get", "endpoint": f"{web.url}/large"}))
    assert result.payload.data.endswith(b'y"}')
    assert free - left == pytest.approx(4 * MIB - UNCOUNTED_BYTES, rel=0.01)
    await until(lambda: calls._memory._free == free)


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


def test_the_setting_is_the_budget() -> None:
    settings = EngineSettings(outgoing_max_total_bytes=LARGEST + MIB)
    client, rpc = http_client(settings), rpc_client(settings)
    assert outgoing_calls(settings, client, rpc)._memory._free == MIB
    rpc.close()


def _payload(arguments: Any) -> RawValue:
    return RawValue(json_payload({"reference": "/do/0/call", "arguments": arguments}))


async def _run(calls: OutgoingCalls, request: RawValue) -> tuple[RawValue, int]:
    """The result of an activity, and what was left of the budget when it returned."""

    async def run() -> tuple[RawValue, int]:
        return await calls.call_http(request), calls._memory._free

    return await ActivityEnvironment().run(run)
