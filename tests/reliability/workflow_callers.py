"""Callers of workflow executions: a worker in this process, whose workflows run documents."""

from __future__ import annotations

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
    from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
    from stigma_client import StigmaPlugin, WorkflowExecutionError, run_workflow
    from tests.reliability.calls import events
    from tests.reliability.site import Site
    from tests.stack.waiting import eventually

QUEUE = "workflow-caller"
# Nobody has to show a key to these sites.
ANYBODY = "local"


@dataclass
class Errand:
    """What one workflow has done; seconds. `document` is a document's text."""

    document: str
    request_id: str
    timeout: float = 120.0
    """Of the execution itself; the caller waits longer."""
    heartbeat_timeout: float = 60.0


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
            if await self._has(self.execution, started):
                return await self._has(self.engine, completed)
            return False

        await eventually(has_run, what="the engine's run")

    async def completions(self) -> int:
        """How often the caller's activity was resolved."""
        resolved = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        return len(await events(self.caller, resolved))

    @staticmethod
    async def _has(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> bool:
        try:
            return bool(await events(handle, kind))
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False


class WorkflowCallers:
    """Starts callers on one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(self, task: str, **fields: Any) -> Run:
        """Have a document of one task run; `fields` are Errand's."""
        document = (
            "document: {dsl: '1.0.3', namespace: tests, name: errand, version: '1.0.0'}\n"
            f"do:\n  - task: {task}\n"
        )
        errand = Errand(document, uuid.uuid4().hex, **fields)
        stack = self._site.stack
        caller = await stack.client.start_workflow(
            RunDocument.run,
            errand,
            id=f"errand-{errand.request_id}",
            task_queue=stack.prefix + QUEUE,
        )
        execution = ids.execution_id(ANYBODY, stack.namespace, errand.request_id, Kind.WORKFLOW)
        return Run(
            caller,
            stack.client.get_workflow_handle(execution),
            stack.client.get_workflow_handle(engine.run_id(execution)),
        )


@asynccontextmanager
async def workflow_callers(site: Site) -> AsyncIterator[WorkflowCallers]:
    """Serve them, for as long as this is open."""
    async with Worker(
        site.stack.client,
        task_queue=site.stack.prefix + QUEUE,
        workflows=[RunDocument],
        plugins=[StigmaPlugin(site.api.address)],
        graceful_shutdown_timeout=timedelta(seconds=5),
    ):
        yield WorkflowCallers(site)
