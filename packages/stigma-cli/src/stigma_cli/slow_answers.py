"""Notes about servers that do not answer: no command waits without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stigma_cli.output import print_note

NOTE_AFTER_SECONDS = 4.0


@contextmanager
def noted_if_slow(
    server: str | Callable[[], str], is_slow: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Print that a server is waited for, where the body takes longer than some seconds.

    Args:
        server: and its address; a function is asked for it only then.
        is_slow: false: what takes long is not the server.
    """

    def note() -> None:
        if is_slow():
            name = server if isinstance(server, str) else server()
            print_note(f"waiting for {name} \N{HORIZONTAL ELLIPSIS}")

    timer = asyncio.get_running_loop().call_later(NOTE_AFTER_SECONDS, note)
    try:
        yield
    finally:
        timer.cancel()
