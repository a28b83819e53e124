"""The `stigma` command as a user runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass


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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stigma_cli",
        *arguments,
        env=_without_settings(os.environ) | variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stdin.encode())
    return Ran(process.returncode or 0, stdout.decode(), stderr.decode())


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("STIGMA_", "TEMPORAL_", "OTEL_")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}
