"""The `stigma` command as a user runs it, in a process that was forked: see forked.py."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryFile

from tests.stack.forked import ForkedProcess, Streams, start_module

_SECONDS = 240.0
_WAITS = "stigma: waiting for "
"""The beginning of a note about a server that takes seconds, as all do on a busy machine."""


@dataclass(frozen=True)
class Ran:
    """Output of one command, but for notes that a server is slow, and its exit code."""

    code: int
    stdout: str
    stderr: str

    def raw(self) -> bytes:
        """All of its output."""
        return f"{self.stdout}\n{self.stderr}".encode()


@dataclass(frozen=True)
class RunningCommand:
    """A command whose output is read while it runs."""

    process: ForkedProcess | subprocess.Popen[bytes]
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    async def note(self) -> str:
        """Return the next line of stderr, but for notes that a server is slow; "" at its end."""
        async with asyncio.timeout(_SECONDS):
            while True:
                line = (await self.stderr.readline()).decode()
                if not line.startswith(_WAITS):
                    return line

    async def ended(self) -> Ran:
        """Wait for its end; the output is what was not read before."""
        stdout, stderr = await asyncio.gather(self.stdout.read(), self.stderr.read())
        code = await asyncio.to_thread(self.process.wait, _SECONDS)
        return Ran(code, stdout.decode(), _without_waits(stderr.decode()))


async def stigma(*arguments: str, stdin: str = "", **variables: str) -> Ran:
    """Run `stigma` with these arguments, and with no setting but these environment variables."""
    environment = _without_settings(os.environ) | variables
    return await asyncio.to_thread(run_stigma, arguments, environment, stdin)


def run_stigma(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: str = "",
    directory: Path | None = None,
) -> Ran:
    """Run `stigma` and wait for its end."""
    with TemporaryFile() as given, TemporaryFile() as stdout, TemporaryFile() as stderr:
        given.write(stdin.encode())
        given.seek(0)
        streams = Streams(given.fileno(), stdout.fileno(), stderr.fileno())
        process = start_module("stigma_cli", arguments, environment, streams, directory)
        code = process.wait(_SECONDS)
        stdout.seek(0)
        stderr.seek(0)
        return Ran(code, stdout.read().decode(), _without_waits(stderr.read().decode()))


@asynccontextmanager
async def running_stigma(
    *arguments: str, environment: Mapping[str, str], directory: Path | None = None
) -> AsyncIterator[RunningCommand]:
    """Start `stigma`, and kill it at the end if it runs on."""
    with ExitStack() as transports:
        (stdout, out), (stderr, err) = [await _pipe(transports) for _ in range(2)]
        process = await asyncio.to_thread(_start, arguments, environment, out, err, directory)
        try:
            yield RunningCommand(process, stdout, stderr)
        finally:
            process.send_signal(SIGKILL)
            await asyncio.to_thread(process.wait, _SECONDS)


async def _pipe(transports: ExitStack) -> tuple[asyncio.StreamReader, int]:
    """Return what is read from, and the descriptor that is written to."""
    read, write = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb")
    )
    transports.callback(transport.close)
    return reader, write


def _start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdout: int,
    stderr: int,
    directory: Path | None,
) -> ForkedProcess | subprocess.Popen[bytes]:
    try:
        with Path(os.devnull).open("rb") as nothing:
            streams = Streams(nothing.fileno(), stdout, stderr)
            return start_module("stigma_cli", arguments, environment, streams, directory)
    finally:
        os.close(stdout)
        os.close(stderr)


def _without_waits(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if not line.startswith(_WAITS))


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("STIGMA_", "TEMPORAL_", "OTEL_")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}
