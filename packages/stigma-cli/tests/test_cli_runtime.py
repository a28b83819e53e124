"""Agents that are workflows of their own, as people see them: applied, watched, answered, stuck."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stigma.agent.v1 import agent_execution_service_pb2_grpc as agents_grpc
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma_cli.errors import Exit
from stigma_client.runtime import Task, Usage, report, request_input
from tests.stack.channels import open_channel
from tests.stack.command_line import running_stigma
from tests.stack.waiting import eventually

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: adviser}
spec:
  limits: {steps: 2, tokens: 100}
  runtime: {workflowType: Adviser, taskQueue: QUEUE}
"""


@workflow.defn(name="Adviser")
class Adviser:
    """An agent in Python."""

    @workflow.run
    async def run(self, argument: dict[str, Any]) -> str:
        task = Task.of(argument)
        await report("look", f"{task.message} was looked at", Usage(30, 12, cost_usd=0.5))
        return f"advice: {await request_input('Which colour?')}"


def agent_file(directory: Path, queue: str) -> Path:
    file = directory / "adviser.yaml"
    file.write_text(AGENT.replace("QUEUE", queue))
    return file


async def test_what_it_may_not_name_is_refused_with_its_place(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    elsewhere = agent_file(tmp_path, "elsewhere")
    refused = await stigma("agent", "apply", "-f", elsewhere, **env)
    assert refused.exit_code == Exit.USAGE
    problem = "the operator allows tools no such task queue (/spec/runtime/taskQueue)"
    assert refused.stderr == f"error: {elsewhere}:6:36: {problem}\n"
    own = agent_file(tmp_path, stack.queues.ai)
    refused = await stigma("agent", "apply", "-f", own, **env)
    problem = "is a task queue of Stigma or Temporal itself (/spec/runtime/taskQueue)"
    assert refused.stderr == f"error: {own}:6:36: {problem}\n"
    both = agent_file(tmp_path, f"{stack.prefix}tools")
    both.write_text(both.read_text() + "  model: scripted:x\n  instructions: Be kind.\n")
    refused = await stigma("agent", "apply", "-f", both, **env)
    problem = "must be absent beside runtime: it is for an agent with a model"
    assert refused.stderr.splitlines() == [
        f"error: {both}:7:3: {problem} (/spec/model)",
        f"error: {both}:8:3: {problem} (/spec/instructions)",
    ]


async def test_it_is_shown_from_its_file_to_its_end(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    queue = f"{stack.prefix}tools"
    applied = await stigma("agent", "apply", "-f", agent_file(tmp_path, queue), **env)
    assert applied.output == "adviser@1 applied\n"
    shown = (await stigma("agent", "get", "adviser", **env)).output
    assert f"runtime:      Adviser on {queue}\n" in shown
    channel = open_channel(stack.api_address)
    executions: Any = agents_grpc.AgentExecutionServiceStub(channel)
    started = await executions.StartAgent(StartAgentRequest(agent_id="adviser", message="It"))
    await channel.close()

    async def stuck() -> Any:
        checked = await stigma("doctor", "--min-age", "0s", "-o", "json", **env)
        told = json.loads(checked.output)["stuck"]
        return next((each for each in told if each["executionId"] == started.id), None)

    async def has_no_worker() -> bool:
        found = await stuck()
        message = f"its workflow: no worker polls task queue {queue}"
        no_worker = ("STUCK_REASON_NO_WORKER", message)
        return bool(found and (found["reason"], found["message"]) == no_worker)

    await eventually(has_no_worker, what="no worker")

    async with Worker(
        stack.client,
        task_queue=queue,
        workflows=[Adviser],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):

        async def asks() -> bool:
            listed = await stigma("inputs", "list", "-o", "json", **env)
            inputs = json.loads(listed.output)["inputs"]
            return any(each["executionId"] == started.id for each in inputs)

        await eventually(asks, what="a question")
        answered = await stigma("execution", "answer", started.id, "question-0-1", "red", **env)
        assert answered.exit_code == 0, answered.stderr
        watched = (await stigma("execution", "watch", started.id, **env)).output
    assert "step 1, look: It was looked at\n" in watched
    assert "asks: Which colour?" in watched
    assert "COMPLETED advice: red\n" in watched
    full = (await stigma("execution", "get", started.id, "--full", **env)).output
    assert "tokens:   30 in, 12 out\n" in full
    assert "It was looked at" in full
    timeline = (await stigma("execution", "timeline", started.id, **env)).output
    assert f"its workflow Adviser runs on task queue {queue}" in timeline
    assert "its workflow told of step 1, look" in timeline
    assert "looked at" not in timeline


async def test_what_no_worker_takes_is_said_while_it_is_asked(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    queue = f"{stack.prefix}lost-tools"
    file = agent_file(tmp_path, queue)
    file.write_text(file.read_text().replace("adviser", "lost-adviser"))
    applied = await stigma("agent", "apply", "-f", file, **env)
    assert applied.exit_code == Exit.OK, applied.output
    asking = ("agent", "ask", "lost-adviser", "It", "--session", "s-own")
    async with running_stigma(*asking, environment=os.environ | env) as waiting:
        label, started, problem = [await waiting.note() for _ in range(3)]
        waiting.process.send_signal(signal.SIGINT)
        await waiting.ended()
    assert label == "stigma: lost-adviser@1 is an agent of your own: the session is only a label\n"
    told = f"its workflow: no worker polls task queue {queue} "
    assert problem.startswith(f"stigma: it makes no progress: {told}")
    execution_id = started.removeprefix("stigma: started ").strip()
    await stigma("execution", "cancel", execution_id, **env)
