"""Tool calls that executions wait for, where nobody takes them or they take long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from temporalio.client import Client

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.fake_tools import MODEL, api_with_tools, new_endpoint, tools_on
from services.stigma_api.tests.test_api_pending_steps import steps_when
from stigma.agent.v1 import agent_execution_pb2 as pb
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma_api.diagnosis.pending import execution


@pytest.fixture(scope="module")
async def deserted(
    client: Client, temporal_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API whose agent `clerk` needs workers that are not there."""
    directory = tmp_path_factory.mktemp("deserted")
    async with api_with_tools(temporal_server.address, directory, client) as (api, _):
        queue = queue_of(api)
        endpoint = await new_endpoint(client, queue)
        await api.apply("clerk", AgentSpec(model=MODEL, tools=tools_on(queue, endpoint)))
        yield api


def queue_of(api: Api) -> str:
    return f"{api.queues.prefix}nobody"


async def called(api: Api, message: str) -> tuple[str, Sequence[pb.PendingStep]]:
    """Start the agent, and return its id and its tool calls in order, once nobody takes them.

    Of those that are activities and workflows: what a workflow waits for is known once it began.
    """
    request = StartAgentRequest(agent_id="clerk", message=message)
    started = await api.executions.StartAgent(request)
    count = len(message.split())

    def are_pending(steps: Sequence[pb.PendingStep]) -> bool:
        calls = [each for each in steps if each.call_id]
        return len(calls) == count and len([each for each in calls if each.no_worker]) == 2

    steps = await steps_when(api, started.id, are_pending)
    return started.id, sorted(steps, key=lambda each: each.call_id)


async def test_calls_that_no_worker_takes(deserted: Api, client: Client) -> None:
    execution_id, (find, ship, pay) = await called(deserted, "find ship pay")
    kinds = {each.kind for each in (find, ship, pay)}
    assert kinds == {pb.PENDING_STEP_KIND_TOOL_CALL}
    assert (find.title, ship.title) == ("tool call 1-1, find", "tool call 1-2, ship")
    for each in (find, ship):
        assert (each.task_queue, each.no_worker) == (queue_of(deserted), True)
    assert ship.workflow_id == f"{execution_id}-1-2"
    assert pay.title == f"tool call 1-3, pay on Nexus endpoint bills-{queue_of(deserted)}"
    starts = [each.start_time.ToNanoseconds() for each in (find, ship, pay)]
    assert min(starts) > 0
    await client.get_workflow_handle(execution_id).terminate()


async def test_calls_whose_beginning_is_not_read_have_no_names(
    deserted: Api, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_MAX_EVENTS", 1)
    execution_id, (find, ship) = await called(deserted, "find ship")
    assert (find.title, ship.title) == ("tool call 1-1", "tool call 1-2")
    assert find.no_worker
    assert find.HasField("start_time")  # as Temporal's list has it
    await client.get_workflow_handle(execution_id).terminate()
