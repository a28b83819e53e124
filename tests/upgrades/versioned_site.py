"""Services whose workers have versions, and the runs that go from one to the other."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.integration.model_gate import ModelGate
from tests.reliability.calls import Call, asking_document
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually
from tests.upgrades.fleet import WITHIN, new_fleet
from tests.upgrades.injected.sitecustomize import LOOK_SECONDS
from tests.upgrades.worker_deployments import builds, make_current, running_on

INJECTED = str(Path(__file__).with_name("injected"))
VERSIONED = {
    "stigma_orchestrator": ("orchestrator", "watch"),
    "ai_worker": ("ai",),
    "zigflow_worker": ("engine",),
}
"""Services with workers, and the queues that they poll."""


class Site:
    """A fleet whose workers have versions: each service is a Worker Deployment of its own."""

    def __init__(self) -> None:
        suffix = uuid.uuid4().hex[:8]
        self.deployments = {service: f"{service}-{suffix}" for service in VERSIONED}
        self.workflows: list[tuple[str, str]] = []

    async def start(self, new_stack: StartStack, gate: ModelGate, directory: Path) -> None:
        """Start everything, without versions."""
        self.fleet = await new_fleet(new_stack, gate, directory, {})
        self.client = self.fleet.stack.client

    async def add(self, build: str) -> None:
        """Start workers of this version beside those that are there."""
        for service, deployment in self.deployments.items():
            variables = {
                "TEMPORAL_DEPLOYMENT_NAME": deployment,
                "TEMPORAL_WORKER_BUILD_ID": build,
                "PYTHONPATH": INJECTED,
                LOOK_SECONDS: "1",
            }
            await self.fleet.add(service, variables)

    async def retire(self, replica: int) -> None:
        """Stop workers, in order."""
        for service in VERSIONED:
            await self.fleet.retire(service, replica)

    async def start_again(self, replica: int) -> None:
        """Start workers that were stopped, at their old version."""
        for service in VERSIONED:
            process = self.fleet.stack.process(service, replica)
            process.start()
            await process.wait_ready()

    async def make_current(self, build: str) -> None:
        """Have new runs begin on this version."""
        for service, deployment in self.deployments.items():
            queues = [getattr(self.fleet.stack.queues, name) for name in VERSIONED[service]]
            await make_current(self.client, deployment, build, queues)

    async def document(self, name: str, tasks: str, data: Any = None) -> WorkflowHandle[Any, Any]:
        header = "document: {dsl: '1.0.3', namespace: tests, name: versions, version: '1.0.0'}\n"
        handle = await self.client.start_workflow(
            "versions",
            {"document": header + tasks, "input": data},
            id=f"{name}-{uuid.uuid4()}",
            task_queue=self.fleet.stack.queues.engine,
        )
        self.workflows.append((name, handle.id))
        return handle

    async def execution(self, message: str) -> WorkflowHandle[Any, WorkflowExecution]:
        """Start a workflow execution that asks an agent whose model works; nobody waits for it."""
        request = StartWorkflowRequest(
            spec=WorkflowSpec(document=asking_document(model="gate:held", script=None)),
            input_json=json.dumps({"message": message}),
            request_id=message,
        )
        started = await self.fleet.stack.workflow_executions.StartWorkflow(request)
        self.workflows.append(("execution", started.id))
        return self.client.get_workflow_handle(started.id, result_type=WorkflowExecution)

    async def held(self) -> list[Call]:
        """Calls whose models work; of the engine's, the handle of their first run."""
        engine, worker = await self.fleet.ask()
        return [_of_first_run(engine), worker]

    async def note(self, name: str, call: Call) -> None:
        """Keep a call's histories under a name."""
        self.workflows.append((f"{name}.caller", call.handle.id))
        agent = await self.fleet.callers.execution_id(call)
        self.workflows.append((f"{name}.agent", agent))

    async def builds(self, handle: WorkflowHandle[Any, Any]) -> list[str]:
        return await builds(self.client, handle.id)

    async def builds_of_agent(self, call: Call) -> list[str]:
        return await builds(self.client, await self.fleet.callers.execution_id(call))

    async def on(self, handle: WorkflowHandle[Any, Any], *wanted: str) -> None:
        """Return once a run's versions are these, oldest first."""
        found: list[str] = []

        async def there() -> bool:
            nonlocal found
            found = await self.builds(handle)
            return found == list(wanted)

        await eventually(there, within=WITHIN, what=lambda: f"{handle.id} on {wanted}, not {found}")

    async def drained(self, build: str) -> None:
        """Return once no run needs a version's workers any more."""
        for deployment in self.deployments.values():

            async def none_runs(deployment: str = deployment) -> bool:
                return await running_on(self.client, deployment, build) == 0

            await eventually(none_runs, within=WITHIN, what=f"{deployment} {build} drained")


def _of_first_run(call: Call) -> Call:
    handle = call.client.get_workflow_handle(
        call.handle.id, run_id=call.handle.first_execution_run_id
    )
    return replace(call, handle=handle)
