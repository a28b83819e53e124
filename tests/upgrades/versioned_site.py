"""Services whose workers have versions, and the runs that go from one to the other."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from tests.integration.model_gate import ModelGate
from tests.reliability.calls import AskingRun, Call, Run
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually
from tests.upgrades.fleet import WITHIN, new_fleet
from tests.upgrades.injected.sitecustomize import LOOK_SECONDS
from tests.upgrades.worker_deployments import builds, make_current, running_on

INJECTED = str(Path(__file__).with_name("injected"))
BROKEN = "{raise: {error: {type: 'https://example.com/broken', status: 500}}}"
VERSIONED = {
    "stigma_orchestrator": ("orchestrator", "watch"),
    "ai_worker": ("ai",),
    "zigflow_worker": ("engine",),
}
"""Services with workers, and the queues that they poll."""


class VersionedSite:
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

    async def executions(self) -> tuple[AskingRun, Run]:
        """Have two workflow executions run: one's agent is asked, the other has failed for good."""
        asking = await self.fleet.callers.ask(model="gate:held", script=None)
        await self.fleet.gate.held(asking.call.message, within=WITHIN)
        first_run = (await asking.engine.describe()).run_id
        asking.call = _in_run(asking.call, first_run)
        failed = await self.fleet.callers.run(BROKEN)
        await failed.result()
        for name, run in {"execution": asking, "execution-failed": failed}.items():
            self.workflows.append((name, run.execution.id))
        return asking, failed

    async def held(self) -> list[Call]:
        """Calls whose models work; of the engine's, the handle of their first run."""
        engine, worker = await self.fleet.ask()
        return [_in_run(engine, engine.handle.first_execution_run_id), worker]

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


def _in_run(call: Call, run_id: str | None) -> Call:
    """Return a call with the handle of this run, also when it has gone on in another."""
    return replace(call, handle=call.client.get_workflow_handle(call.handle.id, run_id=run_id))
