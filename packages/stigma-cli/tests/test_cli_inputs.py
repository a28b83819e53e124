"""People at the command: what agents wait for, answers, messages, and what is shown of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from temporalio import activity
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma_cli.agent_calls import agent_calls
from stigma_cli.errors import Exit
from stigma_cli.input_text import command_for, detail_lines, requested_text
from stigma_cli.progress import print_tasks
from stigma_cli.runs import start as start_run
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.plugin import StartStack
    from tests.stack.stack import Stack

PEOPLE = ("alice", "bob", "stranger")
HOSTILE = "\x1b[2J\u202e"

TELLER = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: teller}
spec:
  model: scripted:teller
  tools:
    - name: pay
      inputSchema: {type: object, required: [amount], properties: {amount: {type: number}}}
      activity: {type: Pay, taskQueue: t1-tools}
    - {name: ask, question: {}}
    - name: locate
      client: {}
      outputSchema: {type: object, required: [city]}
  approval:
    rules: [{tools: [pay], require: ALWAYS, notStarter: true, allowEdit: true, allowRemember: true}]
  script:
    steps: STEPS
"""
PAY = r'{toolCalls: [{name: pay, argumentsJson: {amount: 12.5, to: "\e[2J\u202E"}}]}'
QUESTION = '{question: "Which\\ncolour?", schema: {enum: [red]}}'
ASK = f"{{toolCalls: [{{name: ask, argumentsJson: {QUESTION}}}]}}"
LOCATE = "{toolCalls: [{name: locate, argumentsJson: {}}]}"
DONE = '{text: "done: {results}"}'


class Payments:
    """An activity of somebody else."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.released = asyncio.Event()
        self.released.set()

    @activity.defn(name="Pay")
    async def pay(self, arguments: dict[str, Any]) -> str:
        self.made.append(arguments)
        await self.released.wait()
        return "paid"


@pytest.fixture(scope="module")
async def stack(new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    actions = ["agents.read", "agents.apply", "agents.inline"]
    actions += [f"executions.{each}" for each in ("start", "read", "cancel")]
    listed = [
        {
            "name": name,
            "key_sha256": [hashlib.sha256(key(name).encode()).hexdigest()],
            "actions": actions if name == "stranger" else [*actions, "executions.approve"],
            "agents": ["other"] if name == "stranger" else ["*"],
        }
        for name in PEOPLE
    ]
    file = tmp_path_factory.mktemp("principals") / "principals.yaml"
    file.write_text(json.dumps({"principals": listed}))
    return await new_stack(
        environment={
            "stigma_api": {
                "STIGMA_TOOL_TASK_QUEUES": "t*-tools",
                "STIGMA_PRINCIPALS_FILE": str(file),
            },
            "zigflow_worker": {"STIGMA_API_KEY": key("alice")},
        }
    )


def key(name: str) -> str:
    return f"{name}-key-0123456789"


@pytest.fixture(scope="module")
def env_of(stack: Stack) -> Callable[[str], dict[str, str]]:
    """The environment of a principal."""

    def env_of(name: str) -> dict[str, str]:
        return {
            "STIGMA_API_ADDRESS": stack.api_address,
            "STIGMA_API_KEY": key(name),
            "TEMPORAL_ADDRESS": stack.temporal_address,
            "TEMPORAL_NAMESPACE": stack.namespace,
            "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
        }

    return env_of


@pytest.fixture
async def payments(stack: Stack) -> AsyncIterator[Payments]:
    payments = Payments()
    queue = f"{stack.prefix}tools"
    async with Worker(stack.client, task_queue=queue, activities=[payments.pay]):
        yield payments
        payments.released.set()


class Bank:
    """An agent and its executions, at the command."""

    def __init__(
        self, stigma: Stigma, stack: Stack, directory: Path, env_of: Callable[[str], dict[str, str]]
    ) -> None:
        self._stigma = stigma
        self._stack = stack
        self._directory = directory
        self._env_of = env_of

    async def run(self, *arguments: str, by: str = "alice", stdin: str = "") -> Any:
        return await self._stigma(*arguments, stdin=stdin, **self._env_of(by))

    async def apply(self, *steps: str) -> None:
        file = self._directory / "teller.yaml"
        text = TELLER.replace("STEPS", f"[{', '.join(steps)}]")
        file.write_text(text.replace("t1-tools", f"{self._stack.prefix}tools"))
        applied = await self.run("agent", "apply", "-f", str(file))
        assert applied.exit_code == Exit.OK, applied.output

    async def start(self, *steps: str) -> str:
        """Start an execution of alice's."""
        await self.apply(*steps, DONE)
        metadata = (("authorization", f"Bearer {key('alice')}"),)
        request = StartAgentRequest(agent_id="teller", message="go")
        return (await self._stack.executions.StartAgent(request, metadata=metadata)).id

    async def waiting(self, execution_id: str, input_id: str) -> dict[str, Any]:
        """Wait until an input is pending; returns it."""

        async def found() -> Any:
            shown = await self.run("inputs", "get", execution_id, input_id, "-o", "json")
            return json.loads(shown.output)["inputs"][0] if shown.exit_code == Exit.OK else None

        return await eventually(found, what=input_id)

    async def watched(self, execution_id: str) -> str:
        """Wait for the end; returns what was shown."""
        return str((await self.run("execution", "watch", execution_id)).output)


@pytest.fixture
def bank(
    stigma: Stigma, stack: Stack, tmp_path: Path, env_of: Callable[[str], dict[str, str]]
) -> Bank:
    return Bank(stigma, stack, tmp_path, env_of)


async def test_a_call_is_approved_once_its_arguments_were_shown(
    bank: Bank, payments: Payments
) -> None:
    execution = await bank.start(PAY)
    await bank.waiting(execution, "approval-1-1")
    shown = await bank.run("execution", "get", execution)
    command = f"stigma execution approve {execution} approval-1-1"
    assert f"waits:    for an approval of pay ({command})\n" in shown.output

    async def listed() -> bool:
        table = (await bank.run("inputs", "list", "--agent", "teller", by="bob")).output
        return any(
            row.split()[:4] == [execution, "approval-1-1", "APPROVAL", "pay"]
            for row in table.splitlines()
        )

    await eventually(listed, what="the input in the list")
    none = await bank.run("inputs", "list", "--agent", "nobody", "-o", "json", by="bob")
    assert json.loads(none.output) == {"inputs": []}

    # Without a terminal nobody is asked.
    refused = await bank.run("execution", "approve", execution, by="bob")
    assert refused.exit_code == Exit.USAGE
    assert "error: will not approve approval-1-1 without --yes\n" in refused.stderr
    assert '{\n  "amount": 12.5,\n  "to": "\\u001b[2J\\u202e"\n}\n' in refused.stderr
    own = await bank.run("execution", "approve", execution, "--yes")
    assert own.exit_code == Exit.PERMISSION
    assert "hint: ask somebody else with the permission executions.approve\n" in own.stderr
    assert not payments.made

    approved = await bank.run("execution", "approve", execution, "--yes", by="bob")
    assert (approved.exit_code, approved.stdout) == (Exit.OK, "approval-1-1 approved by bob\n")
    watched = await bank.watched(execution)
    assert f"  waits for an approval of pay ({command})\n" in watched
    assert "  approval-1-1 approved by bob\n" in watched
    assert payments.made == [{"amount": 12.5, "to": HOSTILE}]

    late = await bank.run("execution", "approve", execution, "approval-1-1", "-y", by="bob")
    assert late.exit_code == Exit.FAILED
    assert "hint: `stigma execution get` shows how it ended\n" in late.stderr
    none = await bank.run("execution", "approve", execution, by="bob")
    assert none.exit_code == Exit.NOT_FOUND


async def test_an_edit_is_shown_and_told(bank: Bank, payments: Payments) -> None:
    execution = await bank.start(PAY, PAY)
    await bank.waiting(execution, "approval-1-1")
    answer = ("execution", "approve", execution, "--yes", "-o", "json")
    wrong = await bank.run(*answer, "--edit", '{"amount": "much"}', by="bob")
    assert wrong.exit_code == Exit.USAGE
    assert "hint: `stigma inputs get` shows the schema; what is no text " in wrong.stderr
    malformed = await bank.run(*answer, "--edit", "{", by="bob")
    assert malformed.exit_code == Exit.USAGE
    edited = await bank.run(*answer, "--edit", '{"amount": 1}', "--remember", by="bob")
    assert 'to be called instead with:\n{\n  "amount": 1\n}\n' in edited.stderr
    resolution = json.loads(edited.stdout)
    assert (resolution["by"], resolution["remembered"]) == ("bob", True)
    watched = await bank.watched(execution)
    told = "approval-1-1 approved by bob, with other arguments, and all further calls of the tool"
    assert f"  {told}\n" in watched
    # The second one was approved with the first, as the model has asked for it.
    assert [each["amount"] for each in payments.made] == [1, 12.5]


async def test_who_comes_second_is_told_who_was_first(bank: Bank, payments: Payments) -> None:
    execution = await bank.start(PAY, ASK)
    await bank.waiting(execution, "approval-1-1")
    deny = ("execution", "deny", execution, "approval-1-1", "--reason", "too dear")
    denied = await bank.run(*deny, by="bob")
    assert (denied.exit_code, denied.stdout) == (Exit.OK, "approval-1-1 denied by bob\n")
    await bank.waiting(execution, "question-2-1")
    second = await bank.run("execution", "approve", execution, "approval-1-1", "-y", by="alice")
    assert second.exit_code == Exit.FAILED
    assert "error: bob denied it already\n" in second.stderr
    assert "hint: nothing was changed; " in second.stderr
    unknown = await bank.run("execution", "deny", execution, "approval-9-9", by="bob")
    assert unknown.exit_code == Exit.NOT_FOUND
    stranger = await bank.run("execution", "deny", execution, "approval-1-1", by="stranger")
    assert stranger.exit_code == Exit.NOT_FOUND
    assert not payments.made
    await bank.run("execution", "cancel", execution)


async def test_a_question_and_a_clients_tool_are_answered(bank: Bank) -> None:
    execution = await bank.start(ASK, LOCATE, LOCATE)
    found = await bank.waiting(execution, "question-1-1")
    assert (found["question"], json.loads(found["schema"])) == ("Which\ncolour?", {"enum": ["red"]})
    shown = (await bank.run("inputs", "get", execution)).output
    assert "question:  Which\ncolour?\n" in shown
    assert f"answer:    stigma execution answer {execution} question-1-1 TEXT\n" in shown
    wrong = await bank.run("execution", "answer", execution, "blue")
    assert wrong.exit_code == Exit.USAGE
    nothing = await bank.run("execution", "answer", execution)
    assert (nothing.exit_code, nothing.stderr) == (
        Exit.USAGE,
        "error: give the answer as TEXT, or with --json\n",
    )
    many = await bank.run("execution", "answer", execution, "question-1-1", "red", "and blue")
    assert many.exit_code == Exit.USAGE
    red = await bank.run("execution", "answer", execution, "red")
    assert (red.exit_code, red.stdout) == (
        Exit.OK,
        "question-1-1 answered by alice: Which colour?\n",
    )
    await bank.waiting(execution, "client-2-1")
    # What is repeated is for what was answered, not for what is asked next.
    for repeated in (("answer", execution, "red"), ("decline", execution)):
        refused = await bank.run("execution", *repeated)
        assert refused.exit_code == Exit.USAGE
        assert refused.stderr.splitlines() == [
            f"error: {execution} was answered before, and now waits for client-2-1",
            f"hint: name it if it is meant; `stigma inputs get {execution} client-2-1` shows it",
        ]
    given = ("client-2-1", "--json", '{"city": "Ulm"}')
    city = await bank.run("execution", "answer", execution, *given)
    assert city.stdout == "client-2-1 answered by alice\n"
    await bank.waiting(execution, "client-3-1")
    lost = await bank.run("execution", "decline", execution, "client-3-1", "--reason", "no signal")
    assert lost.stdout == "client-3-1 declined by alice\n"
    watched = await bank.watched(execution)
    asked = f"  asks: Which colour? (stigma execution answer {execution} question-1-1 TEXT)\n"
    assert asked in watched
    assert "no signal" in watched


async def test_a_message_reaches_a_running_agent_and_a_stop_waits_for_the_step(
    bank: Bank, payments: Payments
) -> None:
    payments.released.clear()
    execution = await bank.start(PAY, PAY)
    await bank.waiting(execution, "approval-1-1")
    await bank.run("execution", "approve", execution, "-y", "--remember", by="bob")
    await eventually(lambda: payments.made, what="a call under way")
    sent = await bank.run("execution", "send", execution, "hurry\nup")
    assert (sent.exit_code, sent.stdout) == (
        Exit.OK,
        f"{execution} has the message: the model reads it before its next call\n",
    )
    stopped = await bank.run("execution", "cancel", execution, "--after-step")
    assert stopped.output == f"{execution} was asked to stop\n"
    payments.released.set()
    watched = await bank.watched(execution)
    assert "  message from alice: hurry up\n" in watched
    assert "tool call 1-1 pay OK: paid" in watched
    assert "CANCELLED" in watched
    assert len(payments.made) == 1
    gone = await bank.run("execution", "send", execution, "hello?")
    assert gone.exit_code == Exit.FAILED
    assert "hint: `stigma execution get` shows how it ended\n" in gone.stderr
    of_workflow = await bank.run("execution", "send", f"workflow-{'0' * 32}", "hello?")
    assert of_workflow.exit_code == Exit.USAGE
    assert "only agents wait for people" in of_workflow.stderr


async def test_the_list_is_watched(bank: Bank, env_of: Callable[[str], dict[str, str]]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "stigma_cli", "inputs", "list", "--watch"),
        env={**os.environ, **env_of("alice")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 60)  # the table's head: it watches
    execution = await bank.start(ASK)
    asks = (
        f"{execution}  asks: Which colour? (stigma execution answer {execution} question-1-1 TEXT)"
    )
    lines: list[str] = []
    async with asyncio.timeout(60):
        while asks not in lines:
            lines.append((await process.stdout.readline()).decode().rstrip())
        await bank.run("execution", "decline", execution)
        while f"{execution}  question-1-1 waits no more" not in lines:
            lines.append((await process.stdout.readline()).decode().rstrip())
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 130
    assert lines.count(asks) == 1


RUN = """\
document: {dsl: '1.0.3', namespace: test, name: asks, version: '1.0.0'}
do:
  - ask: {call: agent, with: {agent: teller, message: hi}}
"""


async def test_a_run_shows_what_its_agents_wait_for(
    bank: Bank, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.apply(ASK, DONE)
    monkeypatch.setenv("STIGMA_API_ADDRESS", stack.api_address)
    monkeypatch.setenv("STIGMA_API_KEY", key("alice"))
    handle = await start_run(stack.client, "asks", RUN, None, queue=stack.queues.engine)
    written: list[str] = []
    async with agent_calls(handle) as agents:
        agents.write = written.append
        outcome = asyncio.ensure_future(handle.result())
        following = asyncio.create_task(print_tasks(handle, outcome, agents))
        asks = "  teller: asks: Which colour? (stigma execution answer "
        await eventually(
            lambda: any(each.startswith(asks) for each in written), what=lambda: str(written)
        )
        [line] = [each for each in written if each.startswith(asks)]
        execution = line.removeprefix(asks).split()[0]
        await bank.run("execution", "answer", execution, "red")
        await following
    assert "  teller: question-1-1 answered by alice" in written


def test_what_mcp_servers_ask_is_shown_with_the_command_that_answers() -> None:
    form = PendingInput(
        id="elicitation-1-1.1",
        execution_id="agent-1",
        kind=PENDING_INPUT_KIND_ELICITATION,
        tool="book",
        question="For\nwhom?",
    )
    answer = "stigma execution answer agent-1 elicitation-1-1.1 --json JSON"
    assert requested_text(form) == f"book asks: For whom? ({answer})"
    page = PendingInput(
        id="authorization-1-1.2",
        execution_id="agent-1",
        kind=PENDING_INPUT_KIND_AUTHORIZATION,
        tool="book",
        question="Sign in.",
        url="https://bank.example/",
    )
    answer = "stigma execution answer agent-1 authorization-1-1.2 done"
    said = "book asks a person to open https://bank.example/ : Sign in."
    assert requested_text(page) == f"{said} ({answer})"
    assert any(line.endswith("https://bank.example/") for line in detail_lines(page))


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ("", "TEXT"),
        ("{}", "TEXT"),
        ('{"type": "string"}', "TEXT"),
        ('{"type": ["null", "string"]}', "TEXT"),
        ('{"type": "integer"}', "--json JSON"),
        ('{"type": ["integer", "null"]}', "--json JSON"),
        ("true", "TEXT"),
        ("{", "TEXT"),
    ],
)
def test_a_question_names_the_form_of_its_answer(schema: str, answer: str) -> None:
    asked = PendingInput(
        id="question-1-1", kind=PENDING_INPUT_KIND_QUESTION, execution_id="agent-1", schema=schema
    )
    assert command_for(asked) == f"stigma execution answer agent-1 question-1-1 {answer}"


def test_what_a_later_release_waits_for_is_shown() -> None:
    found = PendingInput(id="new-1-1", execution_id="agent-1")
    found.kind = 99  # type: ignore[assignment]
    assert requested_text(found) == "waits for 99 new-1-1 (stigma inputs get agent-1 new-1-1)"


async def test_an_agent_whose_every_call_waits_is_told_of(
    stigma: Stigma, env_of: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    text = (
        "apiVersion: stigma/v1\nkind: Agent\nmetadata: {name: gated}\nspec:\n"
        "  model: scripted:x\n  tools: [{name: team, agent: {agent: gated}}]\n"
    )
    file = tmp_path / "gated.yaml"
    for rules, expected in (
        ("", "stigma: gated: each call of its tools waits for a person's approval"),
        ("  approval: {rules: [{require: NEVER}]}\n", ""),
    ):
        file.write_text(text + rules)
        applied = await stigma("agent", "apply", "-f", file, **env_of("alice"))
        assert applied.exit_code == Exit.OK
        assert applied.stderr.startswith(expected)
        assert bool(applied.stderr) == bool(expected)
