"""Text of models that are still writing, through all services to a watcher and to the command."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from rich.console import Console

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    ModelProgress,
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma.agent.v1.agent_pb2 import ActivityTool, AgentSpec, Script, ScriptStep, Tool
from stigma_cli.errors import Exit
from stigma_cli.live_text import LiveText, last_lines
from tests.stack.command_line import RunningCommand, run_stigma, running_stigma
from tests.stack.terminal import Terminal

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

TEXT = "Roses are red, violets are blue, and so it goes on."
CHUNK = "Roses are red, "
LONG = Duration(seconds=600)
SHORT = Duration(nanos=300_000_000)
TOOLS = [Tool(name="find", activity=ActivityTool(type="Find", task_queue="t1-tools"))]


async def start(
    stack: Stack, chunk_delay: Duration, *, tools: bool = False, partial_text: bool = True
) -> AgentExecution:
    step = ScriptStep(text=TEXT, chunk_delay=chunk_delay)
    spec = AgentSpec(
        model="scripted:poet", script=Script(steps=[step]), tools=TOOLS if tools else []
    )
    return await stack.executions.StartAgent(
        StartAgentRequest(spec=spec, message="go", partial_text=partial_text)
    )


@pytest.mark.parametrize("tools", [False, True], ids=["call_model", "converse"])
async def test_a_watcher_sees_text_while_the_model_writes(stack: Stack, tools: bool) -> None:
    started = await start(stack, LONG, tools=tools)
    seen = []
    async for event in stack.executions.WatchAgentExecution(
        WatchAgentExecutionRequest(id=started.id), timeout=60
    ):
        seen.append(event.WhichOneof("event"))
        if event.HasField("progress"):
            # The next words come in ten minutes.
            assert event.progress.text == CHUNK
            await stack.executions.CancelAgentExecution(CancelAgentExecutionRequest(id=started.id))
    assert seen[:3] == ["started", "model_call_started", "progress"]
    assert seen[-1] == "ended"
    assert seen.count("progress") == 1
    assert b"violets" not in stack.raw_logs()
    assert b"Roses" not in stack.raw_logs()


async def line_with(command: RunningCommand, text: str) -> str:
    """The next line with a text."""
    async with asyncio.timeout(60):
        while text not in (line := (await command.stdout.readline()).decode()):
            assert line, "the command has ended"
    return line


async def test_a_pipe_gets_no_text_before_the_answer(stack: Stack, env: dict[str, str]) -> None:
    started = await start(stack, LONG)
    watch = ("execution", "watch", started.id)
    environment = os.environ | env
    async with (
        running_stigma(*watch, environment=environment) as text,
        running_stigma(*watch, "-o", "json", environment=environment) as as_json,
    ):
        await line_with(text, "model call 1: scripted:poet")
        progress = json.loads(await line_with(as_json, '"progress"'))["progress"]
        assert progress == {"step": 1, "attempt": 1, "text": CHUNK}
        # Both have one poll; whoever watches now has it, too.
        async for event in stack.executions.WatchAgentExecution(
            WatchAgentExecutionRequest(id=started.id), timeout=60
        ):
            if event.HasField("progress"):
                await stack.executions.CancelAgentExecution(
                    CancelAgentExecutionRequest(id=started.id)
                )
        rest, rest_as_json = await text.ended(), await as_json.ended()
    assert CHUNK not in rest.stdout
    assert "CANCELLED" in rest.stdout
    assert rest.code == rest_as_json.code == Exit.FAILED


async def test_a_pipe_gets_the_whole_answer(stack: Stack, env: dict[str, str]) -> None:
    started = await start(stack, SHORT)
    watch = ("execution", "watch", started.id)
    watched = await asyncio.to_thread(run_stigma, watch, os.environ | env)
    lines = [re.sub(r"^\S+  ", "", line) for line in watched.stdout.splitlines()]
    assert lines[1:] == [
        "model call 1: scripted:poet",
        f"model call 1 answered: {TEXT}",
        f"COMPLETED {TEXT}",
    ]


async def test_a_terminal_shows_text_in_place(stack: Stack, env: dict[str, str]) -> None:
    started = await start(stack, LONG)
    shown = Terminal("execution", "watch", started.id, **env)
    await shown.until(CHUNK.strip())
    await stack.executions.CancelAgentExecution(CancelAgentExecutionRequest(id=started.id))
    assert await shown.ended() == Exit.FAILED
    after = shown.text.split(CHUNK.strip(), maxsplit=1)[1]
    assert "\x1b[2K" in after  # it was erased
    assert "CANCELLED" in after


async def test_a_run_on_a_terminal_shows_text_below_its_tasks(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "poet.yaml").write_text(
        "apiVersion: stigma/v1\nkind: Agent\nmetadata: {name: poet}\nspec:\n"
        "  model: scripted:poet\n"
        f'  script: {{steps: [{{text: "{TEXT}", chunkDelay: 1s}}]}}\n'
    )
    assert (await stigma("agent", "apply", "-f", tmp_path / "poet.yaml", **env)).exit_code == 0
    file = tmp_path / "document.yaml"
    file.write_text(
        "document: {dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0'}\n"
        "do:\n  - ask: {call: agent, with: {agent: poet, message: hi, partialText: true}}\n"
    )
    shown = Terminal("run", str(file), "--watch", **env)
    assert await shown.ended() == Exit.OK
    assert f"poet: {CHUNK.strip()}" in shown.text
    assert shown.text.rstrip().endswith(f'"{TEXT}"')


@pytest.mark.parametrize(
    ("text", "width", "count", "shown"),
    [
        ("one two", 20, 10, "one two"),
        ("one\ntwo\nthree", 20, 2, "two\nthree"),
        ("abcdefgh", 3, 2, "def\ngh"),
        ("日本語", 4, 10, "日本\n語"),
        ("a\x1b[2J", 20, 1, "a\\x1b[2J"),
        ("one\ntwo  three", 8, 1, "three"),
        ("", 8, 1, ""),
    ],
)
def test_the_end_of_a_text_fits_the_terminal(text: str, width: int, count: int, shown: str) -> None:
    assert last_lines("", text, width, count) == shown


def test_nothing_is_shown_without_a_terminal() -> None:
    out = io.StringIO()
    live = LiveText(Console(file=out))
    live.show(ModelProgress(step=1, attempt=1, text="one"))
    live.clear()
    assert not out.getvalue()
