"""The example with an MCP server that others wrote, over the whole installation."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import psutil

from tests.stack.command_line import stigma
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually

TIMEZONE = Path(__file__).parents[2] / "examples" / "timezone"


def _servers() -> list[int]:
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # others may end meanwhile
            if "mcp-server-time" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


async def test_timezone(new_stack: StartStack) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    servers = {"STIGMA_PROVIDERS_FILE": str(TIMEZONE / "servers.yaml"), "PATH": path}
    stack = await new_stack(environment={"ai_worker": servers})
    variables = {
        "STIGMA_API_ADDRESS": stack.api_address,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
    applied = await stigma("agent", "apply", "-f", str(TIMEZONE / "agents"), **variables)
    assert applied.code == 0, applied.stderr
    done = await stigma("run", str(TIMEZONE / "workflow.yaml"), **variables)
    assert done.code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.startswith("This is what I found: {")
    found = json.loads(said.partition(": ")[2])
    assert found["time_difference"] == "-3.5h"
    assert "T08:30:00" in found["target"]["datetime"]

    # Its guard, and itself; both end with the worker, however that ends.
    servers_running = _servers()
    assert len(servers_running) == 2
    await stack.process("ai_worker").kill()
    await eventually(
        lambda: not any(map(psutil.pid_exists, servers_running)), what="the servers' end"
    )
