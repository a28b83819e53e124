"""One shell session, in which the commands of a page run one after another."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

COMMAND_TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True)
class Ran:
    """A command's exit code, and all it wrote."""

    code: int
    output: str


class Shell:
    """A bash in a directory: variables and the working directory last from command to command.

    What commands leave in the background ends with the session.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], notes: Path) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._notes = notes
        self._count = 0
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, command: str, within: timedelta = COMMAND_TIMEOUT) -> Ran:
        """Run one command.

        Raises:
            TimeoutError: it does not end in time.
        """
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the session is not open")
        self._count += 1
        script = self._notes / f"{self._count}.sh"
        output = self._notes / f"{self._count}.out"
        script.write_text(f"{command}\n", encoding="utf-8")
        line = (
            f". {shlex.quote(str(script))} >{shlex.quote(str(output))} 2>&1 </dev/null; echo $?\n"
        )
        self._process.stdin.write(line.encode())
        try:
            async with asyncio.timeout(within.total_seconds()):
                code = await self._process.stdout.readline()
        except TimeoutError:
            raise TimeoutError(f"not done within {within}: {command}\n{_read(output)}") from None
        # Without an answer the shell itself has ended: `exit`, for instance.
        ended = int(code) if code else await self._process.wait()
        return Ran(ended, _read(output))

    async def __aenter__(self) -> Self:
        self._notes.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            "bash",
            "--noprofile",
            "--norc",
            "-o",
            "pipefail",
            cwd=self._directory,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.communicate()


def _read(output: Path) -> str:
    return output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
