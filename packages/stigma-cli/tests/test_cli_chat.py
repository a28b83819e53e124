"""`stigma chat`, through a pipe and at a terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from temporalio import activity
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
)
from stigma_cli.chat_prompts import prompt_for
from stigma_cli.errors import Exit
from tests.stack.terminal import Terminal
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.plugin import StartStack
    from tests.stack.stack import Stack

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: NAME}
spec:
  model: scripted:NAME
  tools:
    - name: pay
      inputSchema: {type: object, properties: {amount: {type: number}}}
      activity: {type: Pay, taskQueue: QUEUE}
    - {name: ask, question: {}}
    - {name: locate, client: {}, outputSchema: {type: object, required: [city]}}
  approval:
    rules: [{tools: [pay], require: ALWAYS, allowEdit: true, allowRemember: true}]
  script:
    steps: STEPS
"""
PAY = "{toolCalls: [{name: pay, argumentsJson: {amount: 5}}]}"
ASK = '{toolCalls: [{name: ask, argumentsJson: {question: "Which colour?"}}]}'
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
        self.made.append(arguments["amount"])
        await self.released.wait()
        return "paid"


@pytest.fixture(scope="module")
async def stack(new_stack: StartStack) -> Stack:
    return await new_stack(environment={"stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "t*-tools"}})


@pytest.fixture(scope="module")
async def env(stack: Stack) -> dict[str, str]:
    """The environment that points the command at the stack."""
    return {
        "STIGMA_API_ADDRESS": stack.api_address,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }


@pytest.fixture
async def payments(stack: Stack) -> AsyncIterator[Payments]:
    payments = Payments()
    queue = f"{stack.prefix}tools"
    async with Worker(stack.client, task_queue=queue, activities=[payments.pay]):
        yield payments
        payments.released.set()


class Agents:
    """Agents of a test, at the command."""

    def __init__(self, stigma: Stigma, stack: Stack, directory: Path, env: dict[str, str]) -> None:
        self._stigma = stigma
        self._stack = stack
        self._directory = directory
        self.env = env

    async def apply(self, name: str, *steps: str) -> None:
        file = self._directory / f"{name}.yaml"
        text = AGENT.replace("STEPS", f"[{', '.join(steps)}]").replace("NAME", name)
        file.write_text(text.replace("QUEUE", f"{self._stack.prefix}tools"))
        applied = await self.run("agent", "apply", "-f", str(file))
        assert applied.exit_code == Exit.OK, applied.output

    async def run(self, *arguments: str, stdin: str | bytes = "") -> Any:
        return await self._stigma(*arguments, stdin=stdin, **self.env)

    async def sessions(self, session: str) -> list[str]:
        """The phases of a session's executions."""
        listed = await self.run(
            "execution", "list", "--filter", f'session = "{session}"', "-o", "json"
        )
        executions = json.loads(listed.output)["executions"]
        return [each["status"]["phase"].rpartition("_")[2] for each in executions]

    async def execution_of(self, session: str) -> str:
        """Return the id of a session's only execution, once the list has it."""

        async def listed() -> Any:
            query = ("--filter", f'session = "{session}"', "-o", "json")
            found = await self.run("execution", "list", *query)
            return json.loads(found.output)["executions"]

        [execution] = await eventually(listed, what=f"an execution of {session}")
        return str(execution["id"])


@pytest.fixture
def agents(stigma: Stigma, stack: Stack, tmp_path: Path, env: dict[str, str]) -> Agents:
    return Agents(stigma, stack, tmp_path, env)


async def test_lines_of_a_pipe_are_tasks_and_answers(agents: Agents, payments: Payments) -> None:
    await agents.apply("piped", PAY, ASK, LOCATE, DONE)
    answers = ["hello", "maybe", "e", '{"amount": 7}', "y", "red", "{}", '{"city": "Ulm"}']
    again = ["", "and again", "n too dear", "/decline not now", "/decline"]
    lines = "\n".join([*answers, *again]) + "\n"
    chatted = await agents.run("chat", "piped", "--session", "pipe", stdin=lines)
    assert chatted.exit_code == Exit.OK, chatted.output
    shown = chatted.stdout
    assert '? approve pay with\n{\n  "amount": 5\n}\n[y: yes, n REASON: no, e: edit, ' in shown
    assert '? approve pay, instead of\n{\n  "amount": 5\n}\nwith\n{\n  "amount": 7\n}\n' in shown
    assert "? Which colour?\n[answer in one line, or /decline REASON]\n" in shown
    assert '? run locate here, with\n{}\nthe answer\'s schema:\n{\n  "type": "object",\n' in shown
    assert "error: reply breaks the rule 'required' of its schema at /\n" in chatted.stderr
    assert "[client-3-1 answered by local]\n" in shown
    assert "\ndone: " in shown
    assert payments.made == [7]
    second = shown.rpartition("? approve pay with")[2]
    assert "[approval-1-1 denied by local]\n" in second
    assert "[client-3-1 declined by local]\n" in second
    assert chatted.stderr.count("stigma: started agent-") == 2

    async def both() -> bool:
        return await agents.sessions("pipe") == ["COMPLETED", "COMPLETED"]

    await eventually(both, what="two executions of the session")


async def test_a_session_goes_on_with_what_was_said(agents: Agents) -> None:
    await agents.apply("diary", '{text: "I know [{earlier}]"}')
    chatted = await agents.run("chat", "diary", "--session", "mine", stdin="one\ntwo\n")
    assert chatted.stdout == "I know []\nI know [one]\n"
    options = ("--session", "mine", "--session-policy", "reject")
    asked = await agents.run("agent", "ask", "diary", "three", *options)
    assert asked.stdout == "I know [one\ntwo]\n"

    shown = await agents.run("session", "show", "mine", "--full")
    assert "turns:     3\n" in shown.stdout
    assert "three" in shown.stdout
    listed = await agents.run("session", "list", "-o", "json")
    assert "mine" in [each["id"] for each in json.loads(listed.output)["sessions"]]
    assert "mine" in (await agents.run("session", "list")).stdout
    deleted = await agents.run("session", "delete", "mine")
    assert deleted.stdout == "mine is deleted\n"
    gone = await agents.run("session", "show", "mine")
    assert gone.exit_code == Exit.NOT_FOUND
    chatted = await agents.run("chat", "diary", "--session", "mine", stdin="anew\n")
    assert chatted.stdout == "I know []\n"


async def test_the_input_may_end_before_the_agent(agents: Agents) -> None:
    await agents.apply("lonely", ASK, DONE)
    chatted = await agents.run("chat", "lonely", "--session", "lonely", stdin="hello\n")
    assert chatted.exit_code == Exit.FAILED
    told = "error: the input has ended, and the agent waits for an answer\nhint: it goes on: "
    assert f"{told}`stigma execution answer agent-" in chatted.stderr
    unknown = await agents.run("chat", "nobody", stdin="hello\n")
    assert unknown.exit_code == Exit.NOT_FOUND
    binary = await agents.run("chat", "lonely", stdin="\ud83d\n".encode(errors="surrogatepass"))
    assert binary.exit_code == Exit.USAGE


async def test_an_agent_that_fails_is_told(agents: Agents) -> None:
    await agents.apply("failing", '{failure: {reason: AUTHENTICATION, message: "no key"}}')
    chatted = await agents.run("chat", "failing", stdin="hello\n")
    assert chatted.exit_code == Exit.FAILED
    assert "[FAILED AUTHENTICATION: no key" in chatted.stdout


async def test_a_person_at_a_terminal(agents: Agents, payments: Payments) -> None:
    payments.released.clear()
    await agents.apply("talker", PAY, PAY, DONE)
    shown = Terminal("chat", "talker", "--session", "typed", **agents.env)
    await shown.until("type the task, Ctrl-D ends")
    shown.type("pay twice")
    await shown.until("a: always, in this execution]")
    shown.type("a")
    await shown.until("and all further calls of the tool]")
    await eventually(lambda: payments.made, what="a call under way")
    # What is typed while it runs is sent.
    shown.type("hurry up")

    async def is_sent() -> bool:
        execution = await agents.execution_of("typed")
        watched = Terminal("execution", "watch", execution, **agents.env)
        await watched.until("message from local: hurry up")
        return True

    assert await is_sent()
    payments.released.set()
    await shown.until("done: ")
    assert payments.made == [5, 5]
    shown.type("once more")
    await shown.until("started agent-", times=2)
    await shown.until("a: always, in this execution]", times=2)
    shown.interrupt()
    await shown.until("it goes on: ")
    assert await shown.ended() == 130


async def test_an_approval_is_confirmed_at_a_terminal(agents: Agents, payments: Payments) -> None:
    await agents.apply("asked", PAY, DONE)
    chat = Terminal("chat", "asked", "--session", "asked", **agents.env)
    await chat.until("Ctrl-D ends")
    chat.type("pay")
    await chat.until("? approve pay with")
    execution = await agents.execution_of("asked")
    shown = Terminal("execution", "approve", execution, **agents.env)
    await shown.until("Approve this call of pay? [y/N]")
    assert '"amount": 5' in shown.text
    shown.type("n")
    await shown.until("nothing was answered: the call still waits")
    assert await shown.ended() == Exit.FAILED
    assert not payments.made
    shown = Terminal("execution", "approve", execution, **agents.env)
    await shown.until("Approve this call of pay? [y/N]")
    shown.type("y")
    assert await shown.ended() == Exit.OK
    # Whoever is asked in the chat sees that it is answered.
    await chat.until("[approval-1-1 approved by local]")
    await chat.until("done: ")
    chat.type("\x04", end="")
    assert await chat.ended() == Exit.OK


async def test_what_was_typed_for_one_approval_answers_no_other(
    agents: Agents, payments: Payments
) -> None:
    both = PAY.replace("]}", ", {name: pay, argumentsJson: {amount: 6}}]}")
    await agents.apply("twice", both, DONE)
    chat = Terminal("chat", "twice", "--session", "twice", **agents.env)
    await chat.until("Ctrl-D ends")
    chat.type("pay")
    await chat.until("a: always, in this execution]")
    execution = await agents.execution_of("twice")
    denied = await agents.run("execution", "deny", execution, "approval-1-1")
    assert denied.exit_code == Exit.OK, denied.output
    await chat.until("[press Enter for what is asked next]")
    chat.type("y")
    await chat.until("a: always, in this execution]", times=2)
    assert '"amount": 6' in chat.text
    chat.type("n")
    await chat.until("done: ")
    assert not payments.made
    chat.type("\x04", end="")
    assert await chat.ended() == Exit.OK


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("y", "approve { }"),
        ("YES", "approve { }"),
        ("n", "deny { }"),
        ("no  it is late ", 'deny { reason: "it is late" }'),
        ("a", ""),
        ("e", ""),
        ("yes please", ""),
        ("", ""),
    ],
)
def test_an_approval_takes_what_its_rule_allows(line: str, answer: str) -> None:
    found = PendingInput(id="approval-1-1", kind=PENDING_INPUT_KIND_APPROVAL)
    taken = prompt_for(found).take(line)
    if answer:
        assert " ".join(str(taken).split()) == f'input_id: "approval-1-1" {answer}'
    else:
        assert taken == "[y: yes, n REASON: no]"


def test_arguments_are_edited_and_left_alone() -> None:
    found = PendingInput(
        id="approval-1-1",
        kind=PENDING_INPUT_KIND_APPROVAL,
        arguments_json="{}",
        arguments_digest="d",
        allow_edit=True,
    )
    prompt = prompt_for(found)
    assert prompt.take("e") == "[the arguments as JSON in one line, or nothing to go back]"
    assert str(prompt.take("{")).startswith("this is not JSON: ")
    assert str(prompt.take("[]")).startswith("this is no JSON object\n")
    assert prompt.take("") == "[y: yes, n REASON: no, e: edit]"
    assert 'with\n{\n  "a": 1\n}\n' in str(prompt.take('e {"a": 1}'))
    prompt.take("e")
    prompt.take("")  # back: as the model gave them
    taken = prompt.take("y")
    assert not isinstance(taken, str)
    assert (taken.approve.arguments_json, taken.arguments_digest) == ("", "d")


@pytest.mark.parametrize(
    ("schema", "line", "reply"),
    [
        ("", "7", 'text: "7"'),
        ('{"type":"string"}', "7", 'text: "7"'),
        ('{"type":"integer"}', "7", 'json: "7"'),
        ('{"enum":["red"]}', "red", 'text: "red"'),
        ('{"enum":["red"]}', '"red"', r'json: "\"red\""'),
    ],
)
def test_an_answer_is_what_its_schema_asks_for(schema: str, line: str, reply: str) -> None:
    found = PendingInput(id="question-1-1", kind=PENDING_INPUT_KIND_QUESTION, schema=schema)
    taken = " ".join(str(prompt_for(found).take(line)).split())
    assert taken == f'input_id: "question-1-1" reply {{ {reply} }}'


def test_forms_and_pages_of_mcp_servers_are_asked_for() -> None:
    page = PendingInput(
        kind=PENDING_INPUT_KIND_AUTHORIZATION,
        tool="book",
        question="Sign in.",
        url="https://bank.example/",
    )
    prompt = prompt_for(page)
    assert list(prompt.lines()) == [
        "? book asks you to open this page: Sign in.",
        "https://bank.example/",
        "[done, once you have; or /decline REASON]",
    ]
    assert prompt.take("yes") == prompt.question
    done, declined = prompt.take("Done"), prompt.take("/decline not mine")
    assert not isinstance(done, str)
    assert not isinstance(declined, str)
    assert (done.reply.text, declined.decline.reason) == ("done", "not mine")
    form = PendingInput(
        kind=PENDING_INPUT_KIND_ELICITATION,
        tool="book",
        question="For whom?",
        schema='{"type":"object"}',
    )
    assert next(iter(prompt_for(form).lines())) == "? book asks: For whom?"
    filled = prompt_for(form).take('{"name": "Ann"}')
    assert not isinstance(filled, str)
    assert filled.reply.json == '{"name": "Ann"}'
