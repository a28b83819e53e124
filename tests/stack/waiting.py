"""Waiting for what a test is about, instead of for a while."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar, overload

T = TypeVar("T")
What = str | Callable[[], str]

_INTERVAL_SECONDS = 0.02


@overload
async def eventually(
    check: Callable[[], Coroutine[Any, Any, T | None]], *, within: timedelta = ..., what: What = ...
) -> T: ...
@overload
async def eventually(
    check: Callable[[], T | None], *, within: timedelta = ..., what: What = ...
) -> T: ...
async def eventually(
    check: Callable[[], Any],
    *,
    within: timedelta = timedelta(seconds=60),
    what: What = "the condition",
) -> Any:
    """Return ``check``'s first true value; TimeoutError naming ``what`` when there is none in time.

    For what can only be looked at: files, processes, HTTP and Temporal's visibility.
    """
    deadline = asyncio.get_running_loop().time() + within.total_seconds()
    while True:
        result = check()
        found = await result if inspect.isawaitable(result) else result
        if found:
            return found
        if asyncio.get_running_loop().time() >= deadline:
            described = what if isinstance(what, str) else what()
            raise TimeoutError(f"not within {within.total_seconds():g} s: {described}")
        await asyncio.sleep(_INTERVAL_SECONDS)
