"""Records how today's workflows run, on the real stack, as JSON histories.

`python -m tools.record_histories DIRECTORY`. Every later release replays them: code that would take
another way through one of them would break the executions that are open while it is deployed.
Messages, tokens and keys in them are made up, and the server that they are from is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle

from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.workflow.v1.workflow_execution_service_pb2 import CancelWorkflowExecutionRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma_cli.devserver import DevServer, find_binary
from tests.reliability.calls import Call, Run, events
from tests.reliability.documents import DOCUMENTS
from tests.reliability.fault_site import FaultSite, open_site
from tests.reliability.scripted import scripted
from tests.stack.faults import Fail, LoseReply
from tests.stack.histories import as_data
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

# So that a history of a usual length is long enough to go on in another run.
SUGGEST_CONTINUE_AS_NEW = "limit.historyCount.suggestContinueAsNew=50"
MODEL_CALLED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED


@dataclass
class Recorder:
    """Writes histories into a directory."""

    site: FaultSite
    directory: Path

    async def call(self, name: str, call: Call) -> None:
        """Write the histories of a caller and of its agent, once both have ended."""
        try:
            await call.result()
        except WorkflowFailureError:
            sys.stderr.write(f"{name}: the caller failed, as it should\n")
        await self.workflow(f"{name}.caller", call.handle)
        await self.agent(name, await self.site.callers.execution_id(call))

    async def agent(self, name: str, execution_id: str) -> None:
        """Write an agent's history, of all its runs, once it has ended."""
        await self.site.outcome(execution_id)
        agent = self.site.stack.client.get_workflow_handle(execution_id)
        await self.workflow(f"{name}.agent", agent)

    async def execution(self, name: str, run: Run) -> None:
        """Write the histories of a caller, its workflow execution and the engine's run."""
        for part, handle in (
            ("caller", run.handle),
            ("execution", run.execution),
            ("run", run.engine),
        ):
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()
            await self.workflow(f"{name}.{part}", handle)

    async def workflow(self, name: str, handle: WorkflowHandle[Any, Any]) -> None:
        """Write every run of a workflow."""
        run_id: str | None = handle.result_run_id or (await first_run(handle))
        number = 0
        while run_id:
            run = self.site.stack.client.get_workflow_handle(handle.id, run_id=run_id)
            history = await run.fetch_history()
            number += 1
            path = self.directory / f"{name}.{number}.json"
            path.write_text(as_data(history))
            closing = history.events[-1].workflow_execution_continued_as_new_event_attributes
            run_id = closing.new_execution_run_id


async def first_run(handle: WorkflowHandle[Any, Any]) -> str:
    """The id of a workflow's first run."""
    described = await handle.describe()
    return described.raw_description.workflow_execution_info.first_run_id or described.run_id


# --- agents, by how they end


async def success(record: Recorder) -> None:
    """An agent answers."""
    await record.call("success", await record.site.callers.worker())


async def failure(record: Recorder) -> None:
    """The model fails for good."""
    call = await record.site.callers.worker(failure="FAILURE_REASON_INVALID_REQUEST")
    await record.call("failure", call)


async def timed_out(record: Recorder) -> None:
    """The deadline passes during a model call."""
    await record.call("timed-out", await record.site.callers.worker(delay=60, timeout=2))


async def cancelled_by_its_caller(record: Recorder) -> None:
    """The calling workflow is cancelled, and stops its agent."""
    call = await record.site.callers.worker(delay=60)
    await record.site.callers.agent_of(call, MODEL_CALLED)
    await call.handle.cancel()
    await record.call("cancelled-by-its-caller", call)


async def cancelled_through_the_api(record: Recorder) -> None:
    """Somebody else cancels the agent."""
    call = await record.site.callers.worker(delay=60)
    agent = await record.site.callers.agent_of(call, MODEL_CALLED)
    cancel = CancelAgentExecutionRequest(id=agent.id, reason="enough")
    await record.site.stack.executions.CancelAgentExecution(cancel)
    await record.call("cancelled-through-the-api", call)


async def without_a_caller(record: Recorder) -> None:
    """Nobody waits."""
    spec = json_format.ParseDict(scripted(), AgentSpec())
    request = StartAgentRequest(spec=spec, message="nobody waits", request_id="nobody")
    started = await record.site.stack.executions.StartAgent(request)
    await record.agent("without-a-caller", started.id)


# --- agents, by what happens on the way


async def delivery_retried(record: Recorder) -> None:
    """Longer than the local activity's short try."""
    orchestrator = record.site.temporal_of_orchestrator
    orchestrator.inject("RespondActivityTaskCompleted", Fail(), times=None)
    call = await record.site.callers.worker()
    agent = await record.site.callers.agent_of(call, EventType.EVENT_TYPE_MARKER_RECORDED)
    orchestrator.clear()
    await record.call("delivery-retried", call)
    assert await events(agent, EventType.EVENT_TYPE_MARKER_RECORDED)


async def delivery_refused(record: Recorder) -> None:
    """Temporal refuses the delivery; a late attempt gets the answer."""
    refused = Fail(grpc.StatusCode.PERMISSION_DENIED)
    record.site.temporal_of_orchestrator.inject("RespondActivityTaskCompleted", refused)
    await record.call("delivery-refused", await record.site.callers.worker(heartbeat_timeout=3))


async def caller_watched(record: Recorder) -> None:
    """Long enough to look after the caller, several times."""
    await record.call(
        "caller-watched", await record.site.callers.worker(delay=5, heartbeat_timeout=4)
    )


async def bound_twice(record: Recorder) -> None:
    """Two attempts of the caller bind."""
    record.site.api.inject("StartAgent", LoseReply())
    await record.call("bound-twice", await record.site.callers.worker(delay=4))


async def continued_as_new(record: Recorder) -> None:
    """The agent goes on in another run."""
    steps = [{"text": f"step {number}", "pause": True} for number in range(1, 13)]
    script = {"steps": [*steps, {"text": "done"}]}
    await record.call("continued-as-new", await record.site.callers.worker(script=script))


async def output_repaired(record: Recorder) -> None:
    """The model's first answer does not satisfy the schema."""
    schema = {"type": "object", "required": ["verdict"]}
    script = {"steps": [{"text": "it is good"}, {"text": '{"verdict": "good"}'}]}
    call = await record.site.callers.worker(script=script, outputSchema=json.dumps(schema))
    await record.call("output-repaired", call)


async def model_call_retried(record: Recorder) -> None:
    """The provider fails once."""
    once = {"reason": "FAILURE_REASON_PROVIDER_UNAVAILABLE", "message": "busy", "attempts": 1}
    script = {"steps": [{"text": "after all", "failure": once}]}
    await record.call("model-call-retried", await record.site.callers.worker(script=script))


# --- workflow executions


async def workflow_executions(record: Recorder) -> None:
    """By how they end, and by what happens on the way."""
    run = record.site.callers.run
    runs = {
        "success": await run("{set: {answer: 42}}"),
        "failure": await run("{raise: {error: {type: about:blank, status: 500}}}"),
        "refused": await run("{set: {answer: 42}, then: nowhere}"),
        "timed-out": await run("{wait: PT60S}", timeout=2),
        "caller-watched": await run("{wait: PT5S}", heartbeat_timeout=4),
        "cancelled-by-its-caller": await run("{wait: PT60S}"),
        "cancelled-through-the-api": await run("{wait: PT60S}"),
        "run-terminated": await run("{wait: PT60S}"),
    }
    for name in ("cancelled-by-its-caller", "cancelled-through-the-api", "run-terminated"):
        await runs[name].began()
    await runs["cancelled-by-its-caller"].handle.cancel()
    cancel = CancelWorkflowExecutionRequest(id=runs["cancelled-through-the-api"].execution.id)
    api = WorkflowExecutionServiceStub(record.site.stack.channel)
    await api.CancelWorkflowExecution(cancel)
    await runs["run-terminated"].engine.terminate()
    for name, recorded in runs.items():
        await record.execution(f"workflow-{name}", recorded)
    await workflow_delivery_retried(record)


async def workflow_delivery_retried(record: Recorder) -> None:
    """Longer than the local activity's short try."""
    orchestrator = record.site.temporal_of_orchestrator
    orchestrator.inject("RespondActivityTaskCompleted", Fail(), times=None)
    run = await record.site.callers.run("{set: {answer: 42}}")
    await run.began()

    async def tried() -> bool:
        return bool(await events(run.execution, EventType.EVENT_TYPE_MARKER_RECORDED))

    await eventually(tried, what="a try that failed")
    orchestrator.clear()
    await record.execution("workflow-delivery-retried", run)


# --- documents


async def documents(record: Recorder) -> None:
    """One of each kind of task, and one that goes on in another run."""
    for name, document in DOCUMENTS.items():
        handle = await record.site.stack.client.start_workflow(
            name,
            {"document": document.text, "input": document.input, "options": document.options},
            id=f"document-{name}",
            task_queue=record.site.stack.queues.engine,
        )
        try:
            await handle.result()
        except WorkflowFailureError:
            assert document.faults, f"document {name} failed"
        await record.workflow(f"document-{name}", handle)


SCENARIOS: tuple[Callable[[Recorder], Awaitable[None]], ...] = (
    *(success, failure, timed_out, cancelled_by_its_caller, cancelled_through_the_api),
    *(without_a_caller, delivery_retried, delivery_refused, caller_watched, bound_twice),
    *(continued_as_new, output_repaired, model_call_retried, workflow_executions, documents),
)


async def record_all(directory: Path) -> None:
    """Start everything, play every scenario, stop."""
    with tempfile.TemporaryDirectory(prefix="stigma-record-") as scratch:
        server = DevServer(find_binary(), settings=[SUGGEST_CONTINUE_AS_NEW])
        stacks: list[Stack] = []

        async def new_stack(address: str | None = None, **options: Any) -> Stack:
            assert address is not None
            stacks.append(Stack(address, Path(scratch), **options))
            return await stacks[-1].__aenter__()

        async with server, open_site(new_stack, server.address) as site:
            for scenario in SCENARIOS:
                sys.stderr.write(f"recording {scenario.__name__}\n")
                await scenario(Recorder(site, directory))
                site.heal()
        for stack in stacks:
            await stack.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.record_histories DIRECTORY")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(record_all(target))
