"""Worker versioning: every run stays on its version, or goes to the new one where it may.

On a Temporal of 1.32 or newer. `histories/` has the histories of a run of this test, which
test_versions_replay.py replays on every server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from stigma.runtime.temporal import supports_version_updates
from tests.integration.model_gate import ModelGate
from tests.reliability.calls import Call
from tests.stack.histories import as_data
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.waiting import eventually
from tests.upgrades.fleet import WITHIN
from tests.upgrades.replaying import replay
from tests.upgrades.versioned_site import VersionedSite
from tests.upgrades.worker_deployments import histories, new_namespace

FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
UNVERSIONED = ""
SCHEMA = '{"type": "object"}'
LONG = "do: [{nap: {wait: {hours: 1}}}]"
SHORT = "do: [{nap: {wait: {seconds: 20}}}, {say: {set: '${ .said }'}}]"
# What it holds while it naps is more than can be carried to another run.
LARGE = """\
do:
  - grow:
      for: {in: "[range(11)]"}
      do: [{twice: {set: "${ [., .] }"}}]
  - nap: {wait: {seconds: 20}}
  - say: {set: {slept: true}}
"""


@pytest.fixture(scope="module")
async def temporal_server(temporal_server: TemporalServer) -> TemporalServer:
    """A namespace of this module's own, on a server that has worker versioning."""
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    version = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    if not supports_version_updates(version.server_version):
        pytest.skip(f"needs Temporal 1.32 or newer, this one is {version.server_version}")
    return TemporalServer(temporal_server.address, await new_namespace(temporal_server.address))


@pytest.fixture
async def site(new_stack: StartStack, tmp_path: Path) -> AsyncIterator[VersionedSite]:
    """Everything, without versions."""
    async with ModelGate() as gate:
        site = VersionedSite()
        await site.start(new_stack, gate, tmp_path)
        yield site
        await site.fleet.stack.stop()


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_there_and_back(site: VersionedSite, tmp_path: Path) -> None:
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
async def test_into_versions_and_out_again(site: VersionedSite, tmp_path: Path) -> None:
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
        agent = await call.check()
        # It delivers within its last task, which ends after its caller.
        await site.on(site.client.get_workflow_handle(agent.id), "+v1")
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


async def move(site: VersionedSite, old: str, new: str) -> list[Call]:
    """Make another version current while calls are under way; return all calls, done."""
    fleet = site.fleet
    engine, worker = await site.held()
    corrected = await fleet.callers.worker(
        model="gate:held", script=None, output_schema=SCHEMA, timeout=600.0
    )
    first = await fleet.gate.held(corrected.message, within=WITHIN)
    asking, failed = await site.executions()
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

    # It never continues as new, whatever becomes of its document.
    await fleet.answer(asking.call)
    await asking.check_answer()
    for run in (asking, failed):
        assert await site.builds(run.execution) == [old]

    assert await short.result() == "hello"
    assert await site.builds(short) == [old, new]
    assert await large.result() == {"slept": True}
    assert await site.builds(large) == [old]
    names = ("engine", "worker", "corrected", "engine-after", "worker-after")
    calls = [engine, worker, corrected, *after]
    for name, call in zip(names, calls, strict=True):
        await site.note(name, call)
    return [*calls, asking.call]


async def check(site: VersionedSite, calls: list[Call]) -> None:
    """Each call led to one agent; a model was asked again once, where that was due, and no more."""
    assert len(calls) == site.fleet.callers.started
    assert len({(await call.completion()).id for call in calls}) == len(calls)
    for call in calls:
        assert len(site.fleet.gate.calls(call.message)) <= 2


async def cancel(site: VersionedSite, *handles: WorkflowHandle[Any, Any]) -> None:
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


async def write_histories(site: VersionedSite, directory: Path) -> list[Path]:
    """Write the histories of all runs; no workflow task of theirs failed."""
    paths = []
    for turn, (name, workflow_id) in enumerate(site.workflows):
        for number, history in enumerate(await histories(site.client, workflow_id), 1):
            assert [one for one in history.events if one.event_type == FAILED] == [], name
            paths.append(directory / f"{turn:02}.{name}.{number}.json")
            paths[-1].write_text(as_data(history))
    return paths
