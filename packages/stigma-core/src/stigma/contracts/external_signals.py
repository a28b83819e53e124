"""Signals of workflows to other workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def send(signal: Coroutine[Any, Any, None]) -> None:
    """Await a signal; a cancel ends the wait, and the signal is sent nevertheless.

    Awaited by itself, a signal that has failed is cancelled by a cancel that arrives together with
    the failure, as it does where the other workflow ends and cancels this one: the SDK's core has
    no such signal any more, and each workflow task fails from then on.

    Raises:
        FailureError: the other workflow is gone.
    """
    sending = asyncio.create_task(signal)
    sending.add_done_callback(_read_outcome)
    await asyncio.shield(sending)


def _read_outcome(sending: asyncio.Task[None]) -> None:
    """Read the outcome, so that one which nobody waits for any more is not logged as lost."""
    if not sending.cancelled():
        sending.exception()
