"""Programs that the tests run while their load goes on: helm, kubectl and the loader of images."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# A look costs a process.
_INTERVAL_SECONDS = 1.0


class ProgramError(Exception):
    """A program failed; the message is its command and what it said on stderr."""


async def run(
    *command: str | Path, given: str = "", within: timedelta = timedelta(minutes=2)
) -> tuple[str, str]:
    """Return what the program writes on stdout and stderr.

    Raises:
        ProgramError: its exit code is not 0, or it does not end in time.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(
            process.communicate(given.encode()), within.total_seconds()
        )
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ProgramError(f"{_told(command)} did not end within {within}") from None
    if process.returncode:
        said = errors.decode(errors="replace").strip() or output.decode(errors="replace").strip()
        raise ProgramError(f"{_told(command)}: {said}")
    return output.decode(errors="replace"), errors.decode(errors="replace")


async def until(
    check: Callable[[], Awaitable[T | None]], *, within: timedelta, what: str | Callable[[], str]
) -> T:
    """Return ``check``'s first true value; TimeoutError naming ``what`` when there is none in time.

    For what Kubernetes itself does in its own time; `ProgramError` counts as "not yet".
    """
    deadline = asyncio.get_running_loop().time() + within.total_seconds()
    problem = ""
    while True:
        try:
            if found := await check():
                return found
        except ProgramError as error:
            problem = f" ({error})"
        if asyncio.get_running_loop().time() >= deadline:
            described = what if isinstance(what, str) else what()
            raise TimeoutError(f"not within {within}: {described}{problem}")
        await asyncio.sleep(_INTERVAL_SECONDS)


def _told(command: tuple[str | Path, ...]) -> str:
    return " ".join(map(str, command))[:200]
