"""Untrusted work as large as is allowed, and larger, beside honest work."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from temporalio.client import WorkflowFailureError

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, Script, ScriptStep
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from tests.integration.installation import KEY, Installation, open_installation
from tests.stack.channels import open_channel
from tests.stack.plugin import StartStack
from tests.stack.waiting import eventually

HEAD = {"dsl": "1.0.3", "namespace": "tests", "name": "hostile", "version": "1.0.0"}
HONEST = 20
ANSWER_SECONDS = 60
LIVES_WITHIN = timedelta(seconds=30)
"""The charts' liveness probe gives a service a minute before it is restarted."""


def doubling(levels: int, word: str) -> dict[str, Any]:
    """A schema whose references double at each level."""
    defs: dict[str, Any] = {
        f"d{n}": {word: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    defs[f"d{levels}"] = {"type": "integer"}
    return {"$defs": defs, "$ref": "#/$defs/d0"}


def document(do: list[Any]) -> str:
    return json.dumps({"document": HEAD, "do": do})


# As heavy as is allowed, for a value of some items.
HEAVY_SCHEMA = {"$defs": doubling(10, "anyOf")["$defs"], "items": {"$ref": "#/$defs/d0"}}
REFUSED_SCHEMAS = {
    "references that double": json.dumps(doubling(40, "allOf")),
    "alternatives that double": json.dumps(doubling(40, "anyOf")),
    "2,000 patterns": json.dumps({"anyOf": [{"pattern": f"^a{{{n}}}z$"} for n in range(2000)]}),
    "700 levels": '{"properties":{"a":' * 700 + "{}" + "}}" * 700,
}
TASKS = [{f"t{n}": {"set": {"v": n}}} for n in range(9000)]
REFUSED_DOCUMENTS = {
    "9,000 tasks": document(TASKS),
    "9,000 branches": document([{"f": {"fork": {"branches": TASKS}}}]),
    "an output schema that doubles": document(
        [{"t": {"set": {"v": 1}, "output": {"schema": {"document": doubling(40, "anyOf")}}}}]
    ),
}


@pytest.fixture(scope="module")
async def installation(
    new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    async with open_installation(new_stack, directory) as installation:
        yield installation


@pytest.mark.parametrize("name", REFUSED_SCHEMAS)
async def test_an_agent_is_refused_with_the_limit(installation: Installation, name: str) -> None:
    spec = AgentSpec(model="scripted:x", output_schema=REFUSED_SCHEMAS[name])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await installation.agents.ApplyAgent(
            ApplyAgentRequest(agent=Agent(name="hostile", spec=spec)), timeout=ANSWER_SECONDS
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "output_schema" in str(refused.value.details())


@pytest.mark.parametrize("name", REFUSED_DOCUMENTS)
async def test_a_workflow_is_refused_with_the_place(installation: Installation, name: str) -> None:
    spec = WorkflowSpec(document=REFUSED_DOCUMENTS[name])
    async with open_channel(installation.stack.api_address, api_key=KEY) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await WorkflowServiceStub(channel).ApplyWorkflow(
                ApplyWorkflowRequest(workflow=Workflow(name="hostile", spec=spec)),
                timeout=ANSWER_SECONDS,
            )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "/do/" in str(refused.value.details())


async def test_honest_work_goes_on(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """As much again is far more than the largest pieces take."""
    await _p95(installation)  # nothing is new any more
    alone = await _p95(installation)
    enough = 2 * alone + 3
    spec = AgentSpec(
        model="scripted:x",
        output_schema=json.dumps(HEAVY_SCHEMA),
        script=Script(steps=[ScriptStep(text=json.dumps(["x"] * 40))]),
    )
    await installation.agents.ApplyAgent(
        ApplyAgentRequest(agent=Agent(name="heavy", spec=spec)), timeout=ANSWER_SECONDS
    )
    async with asyncio.TaskGroup() as group:
        hostile = [
            group.create_task(_again_and_again(work))
            for work in (
                lambda: _refused_run(installation, REFUSED_DOCUMENTS["9,000 tasks"]),
                lambda: _refused_run(installation, _checked_document()),
                lambda: _heavy_agent(installation),
            )
        ]
        health = group.create_task(_unhealthy(installation))
        beside = await _best_p95(installation, enough)
        for task in (*hostile, health):
            task.cancel()
    with capsys.disabled():
        sys.stdout.write(
            f"\n| p95 of {HONEST} agents alone | beside hostile work |\n|---|---|\n"
            f"| {alone:.2f} s | {beside:.2f} s |\n"
        )
    assert beside < enough


def _checked_document() -> str:
    """A document whose only task has an output that its schema refuses, at length."""
    schema = {"schema": {"document": HEAVY_SCHEMA}}
    return document([{"t": {"set": ["x"] * 40, "output": schema}}])


async def _p95(installation: Installation) -> float:
    async def one() -> float:
        began = time.monotonic()
        started = await installation.ask("echo", uuid.uuid4().hex)
        await installation.ended(started.id)
        return time.monotonic() - began

    taken = sorted(await asyncio.gather(*(one() for _ in range(HONEST))))
    return taken[int(0.95 * HONEST) - 1]


async def _best_p95(installation: Installation, enough: float) -> float:
    """Measure up to three times: what stands in the way does so always, a busy machine does not."""
    best = await _p95(installation)
    for _ in range(2):
        if best >= enough:
            best = min(best, await _p95(installation))
    return best


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()


async def _refused_run(installation: Installation, text: str) -> None:
    run = await installation.run_document(text)
    with pytest.raises(WorkflowFailureError):
        await run.result()


async def _heavy_agent(installation: Installation) -> None:
    started = await installation.ask("heavy", "go")
    assert "INVALID_OUTPUT" in str(await installation.ended(started.id))


async def _unhealthy(installation: Installation) -> None:
    """Ask every service whether it lives, all the time; fail when one does not answer for long."""

    async def lives(service: str) -> bool:
        return (await installation.stack.process(service).admin("/livez"))[0] == 200

    while True:
        for service in ("stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker"):
            await eventually(partial(lives, service), within=LIVES_WITHIN, what=f"{service} lives")
        await asyncio.sleep(0.2)
