"""Runs scenarios of MCP's conformance suite with agents as its client."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mcp_servers.programs import Programs

_COMMAND = Path(__file__).with_name("client_command.py")
_SECONDS = 40

Drive = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Runs agents at the scenario's URL, with its context."""


@dataclass(frozen=True)
class Checks:
    """The checks of a scenario that has run."""

    checks: list[dict[str, Any]]
    output: str

    def having(self, *statuses: str) -> list[str]:
        """Return names of the checks that have one of these statuses, each with its message."""
        return [
            " ".join([each["name"], each.get("errorMessage") or ""]).strip()
            for each in self.checks
            if each["status"] in statuses
        ]


async def run_scenario(
    programs: Programs, scenario: str, version: str, drive: Drive, directory: Path
) -> Checks:
    """Run a scenario, of a version of the protocol; its failures are in the checks.

    Raises:
        Exception: of ``drive``.
    """
    failures: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given = json.loads(await reader.readline())
        try:
            await drive(given["url"], given["context"])
        except Exception as failure:  # noqa: BLE001 - raised below, in the test
            failures.append(failure)
            writer.write(traceback.format_exc().encode())
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(programs.node, programs.conformance, "client", "--scenario", scenario),
            *("--command", f"{sys.executable} {_COMMAND} {port}", "--spec-version", version),
            *("--force", "--output-dir", directory, "--timeout", str(_SECONDS * 1000)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_SECONDS + 10):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if failures:
        raise failures[0]
    return _read(directory, output.decode())


def _read(directory: Path, output: str) -> Checks:
    found = list(directory.rglob("checks.json"))
    assert len(found) == 1, output
    return Checks(json.loads(found[0].read_text(encoding="utf-8")), output)
