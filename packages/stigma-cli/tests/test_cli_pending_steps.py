"""Steps that executions wait for, as `stigma execution get` tells them of four services at work."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1 import agent_execution_pb2 as pb
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma_cli.errors import Exit
from stigma_cli.pending_text import pending_text
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.plugin import StartStack
    from tests.stack.stack import Stack

DOCUMENT = """\
document: {dsl: '1.0.3', namespace: test, name: NAME, version: '1.0.0'}
do:
"""
TASKS = {
    "asks": "ask: {call: agent, with: {agent: slow, message: a secret}}",
    "asks-asker": "ask: {call: agent, with: {agent: asker, message: a secret}}",
    "waits": "pause: {wait: {hours: 1}}",
    "retries": """\
reach:
      try:
        - fetch: {call: http, with: {method: get, endpoint: 'http://127.0.0.1:1/a-secret'}}
      catch: {retry: {delay: {hours: 2}, limit: {attempt: {count: 9}}}}""",
}
FORK = f"""\
  - all:
      fork:
        branches:
          - {TASKS["asks"]}
          - {TASKS["waits"]}
          - {TASKS["retries"].replace(chr(10), chr(10) + "        ")}
"""
TOOLS: Mapping[str, Any] = {
    "refund": {"activity": {"type": "refund", "taskQueue": "QUEUE"}},
    "find": {"activity": {"type": "find", "taskQueue": "QUEUE"}},
    "slow": {"agent": {"agent": "slow"}},
}
ALLOWED = [{"tools": ["find", "slow"], "require": "APPROVAL_REQUIREMENT_NEVER"}]


def agent(*steps: Any, tools: Sequence[str] = ()) -> dict[str, Any]:
    """Return an agent that answers by a script."""
    spec: dict[str, Any] = {"model": "scripted:test", "script": {"steps": steps}}
    if tools:
        spec["tools"] = [{"name": each, **TOOLS[each]} for each in tools]
    if "find" in tools:
        spec["approval"] = {"rules": ALLOWED}
    return spec


def calls(*tools: str) -> dict[str, Any]:
    """Return an answer that calls tools."""
    argument = '{"message": "a secret"}'
    return {"toolCalls": [{"name": each, "argumentsJson": argument} for each in tools]}


FAILING = {"failure": {"reason": "FAILURE_REASON_RATE_LIMITED", "message": "a secret"}}
AGENTS = {
    "slow": agent({"text": "done", "delay": "60s"}),
    "limited": agent(*[FAILING] * 9),
    "adviser": {"runtime": {"workflowType": "Adviser", "taskQueue": "QUEUE"}},
    "asker": agent(calls("refund"), {"text": "done"}, tools=["refund"]),
    "busy": agent(calls("refund", "find", "slow"), {"text": "done"}, tools=[*TOOLS]),
}


@pytest.fixture(scope="module")
async def own_stack(new_stack: StartStack) -> Stack:
    """Four services with agents, whose engine may call this machine."""
    stack = await new_stack(
        environment={
            "zigflow_worker": {"STIGMA_OUTGOING_ALLOW": "127.0.0.0/8"},
            "stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "t*-tools"},
        }
    )
    for name, spec in AGENTS.items():
        text = json.dumps(spec).replace("QUEUE", f"{stack.prefix}tools")
        applied = Agent(name=name, spec=json_format.Parse(text, AgentSpec()))
        await stack.agents.ApplyAgent(ApplyAgentRequest(agent=applied))
    return stack


async def started(stack: Stack, name: str, **fields: Any) -> str:
    """Start an agent, and return its execution."""
    request = StartAgentRequest(agent_id=name, message="a secret", **fields)
    return str((await stack.executions.StartAgent(request)).id)


class Executions:
    """Executions as the command shows them."""

    def __init__(self, stigma: Stigma, env: dict[str, str], directory: Path) -> None:
        self._stigma = stigma
        self._env = env
        self._directory = directory

    async def start_document(self, name: str, tasks: str) -> str:
        await self.apply_document(name, tasks)
        return str((await self._stigma("workflow", "start", name, **self._env)).stdout.strip())

    async def apply_document(self, name: str, tasks: str) -> None:
        file = self._directory / f"{name}.yaml"
        file.write_text(DOCUMENT.replace("NAME", name) + tasks)
        applied = await self._stigma("workflow", "apply", "-f", file, **self._env)
        assert applied.exit_code == Exit.OK, applied.output

    async def steps(self, execution_id: str) -> list[dict[str, Any]]:
        """The steps as JSON, by their kind."""
        command = ("execution", "get", execution_id, "-o", "json")
        shown = await self._stigma(*command, **self._env)
        found: list[dict[str, Any]] = json.loads(shown.stdout)["status"].get("pendingSteps", [])
        assert "secret" not in str(found)
        return sorted(found, key=lambda each: str(each["kind"]))

    async def steps_with(self, execution_id: str, *titles: str) -> list[dict[str, Any]]:
        """The steps, once they begin with these titles, by kind."""
        seen: list[Any] = []

        async def all_there() -> list[dict[str, Any]] | None:
            seen[:] = await self.steps(execution_id)
            found = [each["title"] for each in seen]
            is_same = len(found) == len(titles)
            matches = [a.startswith(b) for a, b in zip(found, titles, strict=is_same)]
            return seen if is_same and all(matches) else None

        return await eventually(all_there, what=lambda: f"{titles}, not {seen}")

    async def waits(self, execution_id: str) -> list[str]:
        """Lines of the text that tell a wait."""
        shown = await self._stigma("execution", "get", execution_id, **self._env)
        lines = [line for line in shown.stdout.splitlines() if line.startswith("waits:")]
        return [line.removeprefix("waits:").strip() for line in lines]

    async def cancel(self, execution_id: str) -> None:
        await self._stigma("execution", "cancel", execution_id, **self._env)


@pytest.fixture
def executions(stigma: Stigma, own_stack: Stack, tmp_path: Path) -> Executions:
    return Executions(stigma, {"STIGMA_API_ADDRESS": own_stack.api_address}, tmp_path)


async def test_a_document_waits_in_a_call_of_an_agent(executions: Executions) -> None:
    execution_id = await executions.start_document("asks", f"  - {TASKS['asks']}\n")

    async def called() -> Any:
        [step] = await executions.steps_with(execution_id, "call of agent slow /do/0/ask")
        return step if step.get("executionId") else None

    step = await eventually(called, what="the execution of the agent")
    assert step["kind"] == "PENDING_STEP_KIND_AGENT_CALL"
    assert step["task"] == "/do/0/ask"
    [line] = await executions.waits(execution_id)
    assert line.startswith("call of agent slow /do/0/ask for ")
    assert line.endswith(f": execution {step['executionId']}")
    await executions.steps_with(step["executionId"], "model call 1, scripted:test")
    await executions.cancel(execution_id)


async def test_a_document_waits_for_an_agent_that_waits_for_a_person(
    executions: Executions,
) -> None:
    execution_id = await executions.start_document("asks-asker", f"  - {TASKS['asks-asker']}\n")

    async def asked() -> Any:
        [step] = await executions.steps_with(execution_id, "call of agent asker /do/0/ask")
        return step if step.get("inputRequired") else None

    step = await eventually(asked, what="a person is asked")
    [line] = await executions.waits(execution_id)
    assert line.endswith(f": waits for a person, see stigma execution get {step['executionId']}")
    await executions.cancel(execution_id)


async def test_a_document_waits_in_a_wait(executions: Executions) -> None:
    execution_id = await executions.start_document("waits", f"  - {TASKS['waits']}\n")
    [step] = await executions.steps_with(execution_id, "timer up to ")
    assert step["kind"] == "PENDING_STEP_KIND_TIMER"
    assert "lastFailure" not in step
    assert step["task"] == "/do/0/pause"
    [line] = await executions.waits(execution_id)
    until = f"{step['dueTime'].partition('.')[0].removesuffix('Z')}Z"
    assert line.startswith(f"timer up to {until} of the wait /do/0/pause for ")
    assert line.count(until) == 1
    await executions.cancel(execution_id)


async def test_a_document_waits_to_try_a_call_again(executions: Executions) -> None:
    execution_id = await executions.start_document("retries", f"  - {TASKS['retries']}\n")
    failed = "HTTP call /do/0/reach/try/0/fetch"
    [step] = await executions.steps_with(execution_id, "timer up to ")
    assert step["lastFailure"] == "communication"
    assert step["task"] == "/do/0/reach"
    [line] = await executions.waits(execution_id)
    assert f"Z before try 2 of 10 of /do/0/reach after the failed {failed} for " in line
    assert line.endswith(f": communication {step['lastStatus']}")
    await executions.cancel(execution_id)


async def test_a_document_waits_in_all_branches_of_a_fork(executions: Executions) -> None:
    execution_id = await executions.start_document("forks", FORK)
    ask, *timers = await executions.steps_with(
        execution_id, "call of agent slow /do/0/all/fork/branches/0/ask", "timer ", "timer "
    )
    assert ask["attempt"] == 1
    assert {each.get("lastFailure", "") for each in timers} == {"", "communication"}
    assert len(await executions.waits(execution_id)) == 3
    await executions.cancel(execution_id)


async def test_an_agent_waits_for_a_model_that_fails(
    executions: Executions, own_stack: Stack
) -> None:
    execution_id = await started(own_stack, "limited")

    async def retried() -> Any:
        [step] = await executions.steps_with(execution_id, "model call 1, scripted:test")
        return step if step.get("dueTime") else None

    step = await eventually(retried, what="a retry")
    assert step["lastFailure"] == "RATE_LIMITED"
    assert step["attempt"] >= 2
    await executions.cancel(execution_id)


async def test_an_agent_waits_for_people_tools_and_agents(
    executions: Executions, own_stack: Stack
) -> None:
    execution_id = await started(own_stack, "busy")

    async def begun() -> Any:
        below, call = await executions.steps_with(
            execution_id, "tool call 1-3, slow", "tool call 1-2, find"
        )
        return (below, call) if below.get("executionId") and call.get("noWorker") else None

    below, call = await eventually(begun, what="both calls")
    assert below["kind"] == "PENDING_STEP_KIND_AGENT_CALL"
    assert below["executionId"] == below["workflowId"]
    assert call["taskQueue"] == f"{own_stack.prefix}tools"
    lines = await executions.waits(execution_id)
    assert any(line.startswith("for an approval of refund ") for line in lines)
    assert any(line.endswith(f": execution {below['executionId']}") for line in lines)
    unpolled = f"no worker polls task queue {own_stack.prefix}tools"
    assert any("1-2, find" in line and line.endswith(unpolled) for line in lines)
    await executions.cancel(execution_id)


async def test_an_agent_waits_for_its_turn_and_for_its_own_workflow(
    executions: Executions, own_stack: Stack
) -> None:
    first = await started(own_stack, "slow", session_id="talk")
    second = await started(own_stack, "slow", session_id="talk")
    adviser = await started(own_stack, "adviser")
    [turn] = await executions.steps_with(second, "its turn in session talk")
    assert turn["kind"] == "PENDING_STEP_KIND_SESSION_TURN"

    async def begun() -> Any:
        [own] = await executions.steps_with(adviser, "workflow Adviser")
        return own if own.get("noWorker") else None

    own = await eventually(begun, what="its own workflow")
    assert own["kind"] == "PENDING_STEP_KIND_WORKFLOW"
    assert own["taskQueue"] == f"{own_stack.prefix}tools"
    for each in (first, second, adviser):
        await executions.cancel(each)


async def test_an_engine_that_hangs_is_no_code_that_fails(
    executions: Executions, own_stack: Stack, stigma: Stigma
) -> None:
    engine = own_stack.process("zigflow_worker")
    env = {"STIGMA_API_ADDRESS": own_stack.api_address}
    await executions.apply_document("hangs", f"  - {TASKS['waits']}\n")
    await engine.send(signal.SIGSTOP)
    try:
        execution_id = (await stigma("workflow", "start", "hangs", **env)).stdout.strip()
        seen: list[str] = []

        async def last_word() -> bool:
            seen[:] = await executions.waits(execution_id)
            assert "code fails" not in str(seen)
            return "no worker answered within 10 s" in str(seen)

        await eventually(last_word, what=lambda: f"no answer, not {seen}")
        shown = await stigma("doctor", "--min-age", "0s", **env)
        assert f"{execution_id} hangs@1: NO_WORKER" in shown.output
        assert "WORKFLOW_TASK_FAILING" not in shown.output
    finally:
        await engine.send(signal.SIGCONT)
    await executions.cancel(execution_id)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"title": "model call 1, m:n"}, "model call 1, m:n"),
        (
            {"title": "t", "attempt": 3, "last_failure": "X"},
            "t: last attempt: X, attempt 3 is under way",
        ),
        (
            {"title": "t", "attempt": 2, "last_failure": "X", "last_status": 500},
            "t: last attempt: X 500, attempt 2 is under way",
        ),
        (
            {"title": "t", "attempt": 2, "last_failure": "its worker was lost", "task_queue": "q"},
            "t: its worker was lost, attempt 2 follows, no worker of task queue q has taken it",
        ),
        (
            {"title": "t", "attempt": 1, "task_queue": "q"},
            "t: no worker of task queue q has taken it",
        ),
        (
            {"title": "t", "execution_id": "agent-1", "input_required": True},
            "t: waits for a person, see stigma execution get agent-1",
        ),
        (
            {"title": "t", "task_queue": "q", "no_worker": True},
            "t: no worker polls task queue q",
        ),
        (
            {"title": "t", "attempt": 2, "due_time": Timestamp(seconds=1_800_000_000)},
            "t: attempt 2 follows at 2027-01-15T08:00:00Z",
        ),
    ],
)
def test_a_step_is_a_line(fields: dict[str, Any], text: str) -> None:
    assert pending_text(pb.PendingStep(**fields)) == text


def test_a_workflow_task_says_since_when_a_worker_has_it() -> None:
    step = pb.PendingStep(title="workflow slow", taken_time=Timestamp(seconds=1_800_000_000))
    text = "workflow slow: a worker took its task at 2027-01-15T08:00:00Z, and has not answered"
    assert pending_text(step) == text
