"""Worker versioning: every run stays on its version, or goes to the new one where it may.

On a real Temporal that has it. What its histories were like is in `histories/`, from a run of this
test, and replayed everywhere (test_versions_replay.py).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from tests.integration.model_gate import ModelGate
from tests.reliability.calls import Call
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.waiting import eventually
from tests.upgrades.conftest import SERVER
from tests.upgrades.fleet import WITHIN, new_fleet
from tests.upgrades.injected.sitecustomize import LOOK_SECONDS
from tests.upgrades.replaying import as_data, replay
from tests.upgrades.worker_deployments import (
    builds,
    histories,
    make_current,
    new_namespace,
    running_on,
)

pytestmark = pytest.mark.versioned

INJECTED = str(Path(__file__).with_name("injected"))
FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
VERSIONED = ("stigma_orchestrator", "zigflow_worker")
UNVERSIONED = ""
SCHEMA = '{"type": "object"}'
LONG = "do: [{nap: {wait: {hours: 1}}}]"
SHORT = "do: [{nap: {wait: {seconds: 12}}}, {say: {set: '${ .said }'}}]"
# What it holds while it naps is more than can be carried to another run.
LARGE = """\
do:
  - grow:
      for: {in: "[range(11)]"}
      do: [{twice: {set: "${ [., .] }"}}]
  - nap: {wait: {seconds: 12}}
  - say: {set: {slept: true}}
"""


@pytest.fixture(scope="module")
async def temporal_server() -> TemporalServer:
    """The server that has worker versioning, in the place of everybody's."""
    address = os.environ[SERVER]
    return TemporalServer(address, await new_namespace(address))


class Site:
    """A fleet whose orchestrator and engine each have a Worker Deployment of their own."""

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
        orchestrator, engine = self.deployments.values()
        queues = self.fleet.stack.queues
        agents = [queues.orchestrator, queues.watch]
        await make_current(self.client, orchestrator, build, agents)
        await make_current(self.client, engine, build, [queues.engine])

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


@pytest.fixture
async def site(new_stack: StartStack, tmp_path: Path) -> AsyncIterator[Site]:
    """Everything, without versions."""
    async with ModelGate() as gate:
        site = Site()
        await site.start(new_stack, gate, tmp_path)
        yield site
        await site.fleet.stack.stop()


@pytest.mark.timeout(600)
async def test_there_and_back(site: Site, tmp_path: Path) -> None:
    fleet = site.fleet
    await site.add("v1")
    await site.make_current("v1")
    await site.retire(0)
    napping = await site.document("napping", LONG)
    suspended = await site.document("suspended", LONG)
    await suspended.signal("suspend")

    await site.add("v2")
    calls = await move(site, "v1", "v2")
    await site.on(napping, "v1", "v2")
    await site.on(suspended, "v1", "v2")
    await site.drained("v1")
    await site.retire(1)
    calls += await fleet.handshakes()

    await site.start_again(1)
    calls += await move(site, "v2", "v1")
    await site.on(napping, "v1", "v2", "v1")
    await site.on(suspended, "v1", "v2", "v1")
    await site.drained("v2")
    await site.retire(2)
    calls += await fleet.handshakes()

    assert (await suspended.query("status"))["phase"] == "suspended"
    assert (await napping.query("status"))["phase"] == "waiting"
    await cancel(site, napping, suspended)
    await check(site, calls)
    await replay(await write_histories(site, tmp_path))


@pytest.mark.timeout(600)
async def test_into_versions_and_out_again(site: Site, tmp_path: Path) -> None:
    fleet = site.fleet
    napping = await site.document("napping", LONG)
    before = await site.held()

    await site.add("v1")
    await site.make_current("v1")
    await site.retire(0)
    calls = await fleet.handshakes()
    for call in calls:
        assert await site.builds_of_agent(call) == ["v1"]
    # Nothing pins what began without a version: its next task is the new version's.
    for call in before:
        await fleet.answer(call)
        await call.check()
        assert await site.builds_of_agent(call) == ["+v1"]
    assert await site.builds(before[0].handle) == ["+v1"]
    await napping.signal("suspend")
    await site.on(napping, "+v1")

    await site.start_again(0)
    calls += await move(site, "v1", UNVERSIONED)
    await site.on(napping, "+v1", UNVERSIONED)
    await site.drained("v1")
    await site.retire(1)
    calls += await fleet.handshakes()

    await cancel(site, napping)
    await check(site, [*before, *calls])
    await replay(await write_histories(site, tmp_path))


async def move(site: Site, old: str, new: str) -> list[Call]:
    """Make another version current while calls are under way; return all calls, done."""
    fleet = site.fleet
    engine, worker = await site.held()
    corrected = await fleet.callers.worker(
        model="gate:held", script=None, output_schema=SCHEMA, timeout=600.0
    )
    first = await fleet.gate.held(corrected.message, within=WITHIN)
    short = await site.document("short", SHORT, {"said": "hello"})
    large = await site.document("large", LARGE, "x" * 1000)
    # Theirs is the old version: one workflow task each.
    for handle in (short, large):
        await site.on(handle, old)

    await site.make_current(new)

    after = await fleet.handshakes()
    assert await site.builds(after[0].handle) == [new]
    for call in after:
        assert await site.builds_of_agent(call) == [new]

    # Pinned: what is under way ends where it began.
    for call in (engine, worker):
        await fleet.answer(call)
        await call.check()
        assert await site.builds_of_agent(call) == [old]
    # The document's next task is a place to go on from.
    assert await site.builds(engine.handle) == [old, new]

    # A second step: so is the place between two calls of the model.
    first.answer("this is no JSON")
    second = await fleet.gate.held(corrected.message, nth=2, within=WITHIN)
    second.answer('{"text": "right"}')
    assert (await corrected.result(WITHIN))["output"] == {"text": "right"}
    assert await site.builds_of_agent(corrected) == [old, new]

    assert await short.result() == "hello"
    assert await site.builds(short) == [old, new]
    assert await large.result() == {"slept": True}
    assert await site.builds(large) == [old]
    names = ("engine", "worker", "corrected", "engine-after", "worker-after")
    calls = [engine, worker, corrected, *after]
    for name, call in zip(names, calls, strict=True):
        await site.note(name, call)
    return calls


async def check(site: Site, calls: list[Call]) -> None:
    """Each call led to one agent, and no model call was made twice."""
    assert len(calls) == site.fleet.callers.started
    assert len({(await call.completion()).id for call in calls}) == len(calls)
    for call in calls:
        assert len(site.fleet.gate.calls(call.message)) <= 2


async def cancel(site: Site, *handles: WorkflowHandle[Any, Any]) -> None:
    """Cancel runs that nap."""
    for handle in handles:
        latest = site.client.get_workflow_handle(handle.id)
        await latest.cancel()
        assert await _ended(latest) is WorkflowExecutionStatus.CANCELED


async def _ended(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStatus | None:
    async def closed() -> WorkflowExecutionStatus | None:
        status = (await handle.describe()).status
        return None if status is WorkflowExecutionStatus.RUNNING else status

    return await eventually(closed, within=WITHIN, what=f"the end of {handle.id}")


async def write_histories(site: Site, directory: Path) -> list[Path]:
    """Write the histories of all runs; no workflow task of theirs failed."""
    paths = []
    for turn, (name, workflow_id) in enumerate(site.workflows):
        for number, history in enumerate(await histories(site.client, workflow_id), 1):
            assert [one for one in history.events if one.event_type == FAILED] == [], name
            paths.append(directory / f"{turn:02}.{name}.{number}.json")
            paths[-1].write_text(as_data(history))
    return paths
