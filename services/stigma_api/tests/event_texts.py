"""Timelines in the words of their tests, and executions to have one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client

from services.stigma_api.tests.api_server import Api, running_api
from services.stigma_api.tests.fake_workflows import Staged, StagedAgent, timeline_of, worker
from services.stigma_api.tests.waiting_callers import Caller
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from tests.stack.waiting import eventually


@asynccontextmanager
async def api_with_workers(address: str, directory: Path, client: Client) -> AsyncIterator[Api]:
    """Serve an API that reaches Temporal at an address, and run workers of every queue."""
    staged = Staged()
    async with running_api(address, directory) as api:
        await api.apply("reviewer")
        queues = api.queues
        async with (
            worker(client, queues.orchestrator, staged),
            worker(client, queues.ai, staged),
            worker(client, queues.watch, staged),
            worker(client, queues.engine, staged),
        ):
            yield api
            staged.release.set()


def steps(timeline: pb.ExecutionTimeline) -> list[str]:
    return [
        pb.TimelineStep.Name(each.step).removeprefix("TIMELINE_STEP_") for each in timeline.entries
    ]


def lines(timeline: pb.ExecutionTimeline, step: pb.TimelineStep.ValueType) -> list[str]:
    return [
        f"{each.title}; {each.detail}".strip("; ") for each in timeline.entries if each.step == step
    ]


def single_entry(
    timeline: pb.ExecutionTimeline, step: pb.TimelineStep.ValueType
) -> pb.TimelineEntry:
    [found] = [each for each in timeline.entries if each.step == step]
    return found


async def start(api: Api, message: str, caller: Caller | None = None) -> AgentExecution:
    request = StartAgentRequest(agent_id="reviewer", message=message)
    if caller is not None:
        request = caller.request(agent_id="reviewer", message=message)
    started: AgentExecution = await api.executions.StartAgent(request)
    return started


async def digest_of(client: Client, execution_id: str) -> bytes:
    described = await client.get_workflow_handle(execution_id).describe()
    return bytes.fromhex(await described.memo_value("digest"))


async def end(client: Client, execution_id: str) -> None:
    handle = client.get_workflow_handle(execution_id)
    await handle.signal(StagedAgent.end)
    await handle.result()


async def timeline_with(api: Api, execution_id: str, *wanted: str) -> pb.ExecutionTimeline:
    """The timeline, once it has these steps."""

    async def has() -> pb.ExecutionTimeline | None:
        found = await timeline_of(api, execution_id)
        return found if set(wanted) <= set(steps(found)) else None

    return await eventually(has, what=f"{wanted} of {execution_id}")
