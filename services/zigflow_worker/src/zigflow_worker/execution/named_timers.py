"""Timers of the event loop with summaries, which Temporal keeps in the history.

`workflow.sleep` gives a timer a summary, too, but it is a coroutine: its commands would come in
another order than those of runs that began under an earlier release, or that go back to one. So the
SDK's own variable for it is set around `call_later`. It is private: where a release of the SDK has
it no more, or takes something else, timers have no summaries, and a test fails.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from temporalio import workflow
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.worker import _workflow_instance

_OPTIONS: Any = getattr(_workflow_instance, "_TimerOptionsCtxVar", None)
_new_options: Any = getattr(_workflow_instance, "_TimerOptions", None)


def call_later(
    delay: float, callback: Callable[..., None], *args: object, summary: str
) -> asyncio.TimerHandle:
    """Call back after so many seconds, by a timer with a summary.

    Args:
        delay: in seconds.
        callback: what is called.
        args: of the callback.
        summary: of the timer, for people and the API.
    """
    loop = asyncio.get_running_loop()
    options = _options_with(summary)
    if options is None:
        return loop.call_later(delay, callback, *args)
    outside = contextvars.copy_context()  # no timer that the callback starts has the summary
    token = _OPTIONS.set(options)
    try:
        return loop.call_later(delay, callback, *args, context=outside)
    finally:
        _OPTIONS.reset(token)


def _options_with(summary: str) -> object | None:
    """Return the SDK's options of a timer; None where it has others than are known here."""
    if _OPTIONS is None or _new_options is None:
        return None
    metadata = UserMetadata(summary=workflow.payload_converter().to_payload(summary))
    try:
        options: object = _new_options(user_metadata=metadata)
    except TypeError:
        return None
    return options
