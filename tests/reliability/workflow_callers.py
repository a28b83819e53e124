"""Callers of workflow executions: a worker in this process, whose workflows run documents."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from stigma.contracts import engine, ids
    from stigma.contracts.executions import Kind
    from stigma.workflow.v1.workflow_execution_pb2 import (
        WORKFLOW_EXECUTION_PHASE_COMPLETED,
        WorkflowExecution,
    )
    from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
    from stigma_client import StigmaPlugin, WorkflowExecutionError, run_workflow
    from tests.reliability.calls import (
        Call,
        asking_document,
        events,
        unique_message,
        until_back_off,
    )
    from tests.reliability.fault_site import Deployment
    from tests.stack.stack import Stack
    from tests.stack.waiting import eventually

QUEUE = "workflow-caller"
CALL_WORKFLOW = "call_workflow"


@dataclass
class Errand:
    """What one workflow has done; seconds. `document` is a document's text."""

    document: str
    request_id: str
    timeout: float = 120.0
    """Of the execution itself; the caller waits longer."""
    heartbeat_timeout: float = 60.0
    data: Any = None
    """The document's input."""


@workflow.defn
class RunDocument:
    """Runs a document and tells what came of it."""

    @workflow.run
    async def run(self, errand: Errand) -> dict[str, Any]:
        config = WorkflowConfig()
        config.timeout.FromTimedelta(timedelta(seconds=errand.timeout))
        try:
            result = await run_workflow(
                spec=WorkflowSpec(document=errand.document),
                input=errand.data,
                config=config,
                timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(seconds=errand.heartbeat_timeout),
                request_id=errand.request_id,
            )
        except WorkflowExecutionError as error:
            return {"error": error.type, "reason": error.reason, "step": error.step}
        return {"output": result.output, "execution_id": result.execution_id}


@dataclass
class Run:
    """A caller under way, with its execution and the engine's run."""

    caller: WorkflowHandle[Any, Any]
    execution: WorkflowHandle[Any, Any]
    engine: WorkflowHandle[Any, Any]

    async def began(self) -> None:
        """Return once the engine is at work."""

        async def has_run() -> bool:
            started = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
            completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
            if await happened(self.execution, started):
                return bool(await happened(self.engine, completed))
            return False

        await eventually(has_run, what="the engine's run")

    async def until_back_off(self) -> None:
        """Return once an attempt of the caller's activity has failed and the next is to come."""
        await until_back_off(self.caller, CALL_WORKFLOW)

    async def completions(self) -> int:
        """How often the caller's activity was resolved."""
        return await happened(self.caller, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)

    async def check(
        self, output: Any, within: timedelta = timedelta(seconds=90)
    ) -> WorkflowExecution:
        """Wait for this output, resolved once; returns the execution it came from."""
        result = await asyncio.wait_for(self.caller.result(), within.total_seconds())
        assert result == {"output": output, "execution_id": self.execution.id}
        assert await self.completions() == 1
        execution: WorkflowExecution = await self.execution.result()
        assert execution.status.phase == WORKFLOW_EXECUTION_PHASE_COMPLETED
        return execution


@dataclass
class AskingRun(Run):
    """One whose document asks an agent: `call` is the engine's."""

    call: Call

    async def check_answer(self) -> WorkflowExecution:
        """As `check`; the agent's answer, which the engine got once as well."""
        execution = await self.check(self.call.right_answer)
        await self.call.check()
        return execution


async def happened(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> int:
    """How many such events a workflow has had; none when there is no such workflow yet."""
    try:
        return len(await events(handle, kind))
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return 0


class WorkflowCallers:
    """Starts callers on one site."""

    def __init__(self, site: Deployment[Stack]) -> None:
        self._site = site

    async def run(self, task: str, **fields: Any) -> Run:
        """Have a document of one task run; `fields` are Errand's."""
        document = (
            "document: {dsl: '1.0.3', namespace: tests, name: errand, version: '1.0.0'}\n"
            f"do:\n  - task: {task}\n"
        )
        return await self._start(Errand(document, uuid.uuid4().hex, **fields))

    async def ask(self, **spec: Any) -> AskingRun:
        """Have a document run that asks an agent; `spec` as of `Callers.engine`."""
        message = unique_message()
        errand = Errand(asking_document(**spec), uuid.uuid4().hex, data={"message": message})
        self._site.callers.started += 1
        run = await self._start(errand)
        call = Call(self._site.stack.client, run.engine, message)
        return AskingRun(run.caller, run.execution, run.engine, call)

    async def _start(self, errand: Errand) -> Run:
        stack = self._site.stack
        caller = await stack.client.start_workflow(
            RunDocument.run,
            errand,
            id=f"errand-{errand.request_id}",
            task_queue=stack.prefix + QUEUE,
        )
        execution = ids.execution_id(
            stack.principal, stack.namespace, errand.request_id, Kind.WORKFLOW
        )
        return Run(
            caller,
            stack.client.get_workflow_handle(execution, result_type=WorkflowExecution),
            stack.client.get_workflow_handle(engine.run_id(execution)),
        )


@asynccontextmanager
async def workflow_callers(
    site: Deployment[Stack], api_address: str
) -> AsyncIterator[WorkflowCallers]:
    """Serve them, for as long as this is open."""
    key = site.stack.api_key
    async with Worker(
        site.stack.client,
        task_queue=site.stack.prefix + QUEUE,
        workflows=[RunDocument],
        plugins=[StigmaPlugin(api_address, api_key=key, allow_insecure=True)],
        graceful_shutdown_timeout=timedelta(seconds=5),
    ):
        yield WorkflowCallers(site)
