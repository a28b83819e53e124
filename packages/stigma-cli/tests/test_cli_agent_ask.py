"""`stigma agent ask`, through a pipe and at a terminal."""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stigma_cli.errors import Exit
from tests.stack.command_line import running_stigma
from tests.stack.terminal import Terminal
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma

AGENTS = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: ask-echo}
spec: {model: scripted:echo, script: {steps: [{text: "{message}, {input}"}]}}
---
apiVersion: stigma/v1
kind: Agent
metadata: {name: ask-slow}
spec: {model: scripted:slow, script: {steps: [{text: late, delay: 10m}]}}
---
apiVersion: stigma/v1
kind: Agent
metadata: {name: ask-broken}
spec: {model: scripted:broken, script: {steps: [{failure: {reason: AUTHENTICATION}}]}}
---
apiVersion: stigma/v1
kind: Agent
metadata: {name: ask-curious}
spec:
  model: scripted:curious
  tools: [{name: ask, question: {}}]
  script: {steps: [{toolCalls: [{name: ask, argumentsJson: '{"question": "Why?"}'}]}]}
"""


class Command:
    """The command, on a stack whose agents are registered."""

    def __init__(self, stigma: Stigma, env: dict[str, str]) -> None:
        self._stigma = stigma
        self.env = env

    async def run(self, *arguments: str, stdin: str = "") -> Any:
        return await self._stigma(*arguments, stdin=stdin, **self.env)

    async def ask(self, *arguments: str, stdin: str = "") -> Any:
        return await self.run("agent", "ask", *arguments, stdin=stdin)

    async def get(self, execution_id: str) -> dict[str, Any]:
        shown = await self.run("execution", "get", execution_id, "-o", "json")
        return dict(json.loads(shown.output))


@pytest.fixture
async def command(stigma: Stigma, env: dict[str, str], tmp_path: Path) -> Command:
    file = tmp_path / "agents.yaml"
    file.write_text(AGENTS)
    applied = await stigma("agent", "apply", "-f", str(file), **env)
    assert applied.exit_code == Exit.OK, applied.output
    return Command(stigma, env)


async def test_the_answer_is_printed(command: Command) -> None:
    asked = await command.ask("ask-echo", "hello", "--input", '{"n": 12345678901234567890}')
    assert asked.exit_code == Exit.OK, asked.output
    assert asked.stdout == 'hello, {"n": 12345678901234567890}\n'
    assert asked.stderr.startswith("stigma: started agent-")


async def test_the_message_may_come_from_stdin(command: Command) -> None:
    asked = await command.ask("ask-echo", "-", stdin="line 1\nline 2")
    assert asked.stdout == "line 1\nline 2, \n"


async def test_asked_again_it_is_not_started_again(command: Command) -> None:
    options = ("--session", "s1", "--label", "team=a", "--label", "x=", "--request-id", "r-1")
    first = await command.ask("ask-echo", "hello", *options, "--detach")
    assert first.exit_code == Exit.OK, first.output
    execution_id = first.stdout.strip()
    again = await command.ask("ask-echo", "hello", *options, "-o", "json")
    ended = json.loads(again.stdout)
    assert (ended["id"], ended["status"]["phase"]) == (
        execution_id,
        "AGENT_EXECUTION_PHASE_COMPLETED",
    )
    spec = (await command.get(execution_id))["spec"]
    assert spec["labels"] == {"team": "a", "x": ""}
    assert (spec["sessionId"], spec["requestId"]) == ("s1", "r-1")


async def test_events_are_watched(command: Command) -> None:
    asked = await command.ask("ask-echo", "hello", "--watch")
    lines = [line.partition("  ")[2] for line in asked.stdout.splitlines()]
    assert lines[0] == "started ask-echo@1"
    assert lines[-1] == "COMPLETED hello,"


async def test_a_failure_is_the_exit_code(command: Command) -> None:
    asked = await command.ask("ask-broken")
    assert asked.exit_code == Exit.FAILED
    assert "AUTHENTICATION" in asked.stdout


async def test_waiting_ends_and_the_execution_goes_on(command: Command) -> None:
    same = ("ask-curious", "--request-id", uuid.uuid4().hex)
    started = (await command.ask(*same, "--detach")).stdout.strip()

    async def waits() -> bool:
        return bool((await command.run("inputs", "get", started)).exit_code == Exit.OK)

    await eventually(waits, what="the question")
    asked = await command.ask(*same, "--timeout", "5s")
    assert asked.exit_code == Exit.UNREACHABLE
    assert "has not ended within 5 s" in asked.stderr
    assert "it goes on: `stigma execution watch agent-" in asked.stderr
    assert "Why?" in asked.stderr, "what it waits for"
    assert asked.stderr.startswith(f"stigma: started {started}\n")
    await command.run("execution", "cancel", started)
    assert (await command.run("execution", "watch", started)).exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ask-echo", "--label", "team"), "--label: 'team' is not KEY=VALUE"),
        (("ask-echo", "--input", "{"), "the input is not JSON"),
        (("ask-echo", "--timeout", "soon"), "--timeout: "),
        (("nobody",), "agent nobody not found"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    asked = await command.ask(*arguments)
    assert asked.exit_code != Exit.OK
    assert said in asked.stderr
    assert "started" not in asked.stderr


@pytest.mark.parametrize(
    ("typed", "phase"),
    [
        ("y", "AGENT_EXECUTION_PHASE_CANCELLED"),
        ("n", "AGENT_EXECUTION_PHASE_RUNNING"),
        ("\x03", "AGENT_EXECUTION_PHASE_RUNNING"),
    ],
)
async def test_an_interrupt_asks_what_to_do(command: Command, typed: str, phase: str) -> None:
    terminal = Terminal("agent", "ask", "ask-slow", **command.env)
    await terminal.until("started agent-")
    terminal.interrupt()
    await terminal.until("Stop it?")
    terminal.type(typed)
    assert await terminal.ended() == 130
    execution_id = terminal.text.partition("started ")[2].split()[0]
    if typed == "y":
        assert f"{execution_id} was asked to stop" in terminal.text
        watched = await command.run("execution", "watch", execution_id)
        assert watched.exit_code == Exit.FAILED
    else:
        assert f"stigma execution cancel {execution_id}" in terminal.text

    async def has_phase() -> bool:  # a worker may not have taken it yet
        return bool((await command.get(execution_id))["status"]["phase"] == phase)

    await eventually(has_phase, what=phase)
    await command.run("execution", "cancel", execution_id)  # nothing is left over


async def test_who_waits_for_its_turn_is_told(command: Command) -> None:
    first = await command.ask("ask-slow", "m", "--session", "s-turns", "--detach")
    asking = ("agent", "ask", "ask-echo", "hello", "--session", "s-turns", "--watch")
    async with running_stigma(*asking, environment=os.environ | command.env) as waiting:
        started, told = await waiting.note(), await waiting.note()
        waiting.process.send_signal(signal.SIGINT)
        await waiting.ended()
    assert told == "stigma: PENDING: it waits for its turn in session s-turns\n"
    execution_id = started.removeprefix("stigma: started ").strip()
    for each in (execution_id, first.stdout.strip()):
        await command.run("execution", "cancel", each)
