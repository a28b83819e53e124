"""Lines that a person types, or that a pipe has, while something else goes on."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TextIO

from stigma_cli.errors import CliError, Exit
from stigma_cli.strict_json import check_text


class TypedLines:
    """Reads a stream line by line, each in a thread: a terminal has no other way.

    Args:
        stream: of the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next: asyncio.Future[str | None] | None = None
        self.is_terminal = stream.isatty()
        """Whether a person types."""
        self.have_ended = False
        """Whether there are no more."""

    def wait(self) -> asyncio.Future[str | None]:
        """Return the future of the next line, the same until it is taken; None: there is none."""
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            # A daemon: a read from a terminal cannot be interrupted.
            threading.Thread(target=self._read, args=(loop, self._next), daemon=True).start()
        return self._next

    async def take(self) -> str | None:
        """Wait for the next line, and return it without its end.

        Raises:
            CliError: it is no text.
        """
        line = await asyncio.shield(self.wait())
        if line is None:
            self.have_ended = True
        else:
            self._next = None
        return line

    def _read(self, loop: asyncio.AbstractEventLoop, into: asyncio.Future[str | None]) -> None:
        line, problem = None, None
        try:
            read = self._stream.readline()
            check_text(read)
            line = read.rstrip("\r\n") if read else None
        except (OSError, ValueError):
            problem = CliError("the input is no text that can be read", code=Exit.USAGE)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_resolve, into, line, problem)


def _resolve(
    future: asyncio.Future[str | None], line: str | None, problem: CliError | None
) -> None:
    if future.done():
        return
    if problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(line)
