"""The `stigma` command as a user runs it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

from tests.stack.forked import Streams, start_module

_SECONDS = 240.0


@dataclass(frozen=True)
class Ran:
    """What one command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str

    def raw(self) -> bytes:
        """All of its output."""
        return f"{self.stdout}\n{self.stderr}".encode()


async def stigma(*arguments: str, stdin: str = "", **variables: str) -> Ran:
    """Run `stigma` with these arguments, and with no setting but these environment variables."""
    environment = _without_settings(os.environ) | variables
    return await asyncio.to_thread(_run, arguments, environment, stdin)


def _run(arguments: Sequence[str], environment: Mapping[str, str], stdin: str) -> Ran:
    with TemporaryFile() as given, TemporaryFile() as stdout, TemporaryFile() as stderr:
        given.write(stdin.encode())
        given.seek(0)
        streams = Streams(given.fileno(), stdout.fileno(), stderr.fileno())
        process = start_module("stigma_cli", arguments, environment, streams)
        code = process.wait(_SECONDS)
        stdout.seek(0)
        stderr.seek(0)
        return Ran(code, stdout.read().decode(), stderr.read().decode())


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("STIGMA_", "TEMPORAL_", "OTEL_")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}
