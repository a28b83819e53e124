"""Bytes that calls share: in order, and no server's calls get all of them."""

from __future__ import annotations

import asyncio

import pytest

from zigflow_worker.outgoing import fair_pool
from zigflow_worker.outgoing.fair_pool import FairPool


async def test_those_who_wait_are_served_in_order() -> None:
    pool = FairPool(10)
    await pool.take("a", 10)
    order: list[str] = []

    async def take(owner: str, size: int) -> None:
        await pool.take(owner, size)
        order.append(owner)

    waiting = [asyncio.create_task(take(owner, size)) for owner, size in (("b", 6), ("c", 1))]
    await asyncio.sleep(0)
    pool.give_back("a", 5)
    assert not pool.try_take("d", 1), "b waits for it"
    pool.give_back("a", 1)
    await asyncio.gather(*waiting[:1])
    assert order == ["b"]
    pool.give_back("a", 4)
    await asyncio.gather(*waiting)
    assert order == ["b", "c"]


async def test_an_owner_takes_no_more_than_it_leaves() -> None:
    pool = FairPool(12)
    assert pool.try_take("a", 4)
    assert pool.try_take("a", 2)
    assert not pool.try_take("a", 1)
    waiting = asyncio.create_task(pool.take("a", 1))
    await asyncio.sleep(0)
    assert pool.try_take("b", 3), "others pass those who wait for their own"
    assert pool.try_take("c", 3), "the first bytes need only be free"
    assert not pool.try_take("d", 1)
    assert not waiting.done()
    pool.give_back("a", 6)
    await waiting
    assert pool.free == 5


async def test_where_nobody_holds_any_one_gets_more_than_there_is() -> None:
    pool = FairPool(10)
    await pool.take("a", 100)
    waiting = asyncio.create_task(pool.take("b", 100))
    await asyncio.sleep(0)
    assert not waiting.done()
    pool.give_back("a", 100)
    await waiting
    assert pool.free == -90


async def test_others_pass_one_for_whom_there_is_never_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_pool, "_TURN_SECONDS", 0.05)
    pool = FairPool(10)
    await pool.take("silent", 5)
    large = asyncio.create_task(pool.take("large", 6))
    small = asyncio.create_task(pool.take("small", 3))
    async with asyncio.timeout(60):
        await small
    assert not large.done()
    pool.give_back("silent", 5)
    await large


async def test_bytes_that_came_with_a_cancel_are_given_back() -> None:
    pool = FairPool(10)
    await pool.take("a", 10)
    waiting = asyncio.create_task(pool.take("b", 10))
    await asyncio.sleep(0)
    pool.give_back("a", 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.free == 10
