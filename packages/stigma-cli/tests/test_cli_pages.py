"""Lists over the pages of an API that ends them early, as it does where entries are large."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
)
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    AgentExecutionServiceServicer,
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    WorkflowExecutionServiceServicer,
    add_WorkflowExecutionServiceServicer_to_server,
)

if TYPE_CHECKING:
    from conftest import Stigma

Context = grpc.aio.ServicerContext[Any, Any]
ALL = 7


class TwoAtATime(AgentExecutionServiceServicer, WorkflowExecutionServiceServicer):
    """Has no room for more than two executions on a page."""

    async def ListAgentExecutions(
        self, request: ListAgentExecutionsRequest, context: Context
    ) -> ListAgentExecutionsResponse:
        numbers, token = _page(request)
        found = [AgentExecution(id=f"agent-{number}") for number in numbers]
        return ListAgentExecutionsResponse(executions=found, next_page_token=token)

    async def ListWorkflowExecutions(
        self, request: ListWorkflowExecutionsRequest, context: Context
    ) -> ListWorkflowExecutionsResponse:
        numbers, token = _page(request)
        found = [WorkflowExecution(id=f"workflow-{number}") for number in numbers]
        return ListWorkflowExecutionsResponse(executions=found, next_page_token=token)


def _page(
    request: ListAgentExecutionsRequest | ListWorkflowExecutionsRequest,
) -> tuple[range, str]:
    first = int(request.page_token or 0)
    end = min(first + min(request.page_size, 2), ALL)
    return range(first, end), str(end) if end < ALL else ""


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[str]:
    stand_in = TwoAtATime()  # type: ignore[abstract] # what no list calls stays unimplemented
    server = grpc.aio.server()
    add_AgentExecutionServiceServicer_to_server(stand_in, server)
    add_WorkflowExecutionServiceServicer_to_server(stand_in, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.mark.parametrize(("kind", "options"), [("agent", ()), ("workflow", ("--workflows",))])
@pytest.mark.parametrize("limit", [1, 3, 4, ALL, 50])
async def test_a_list_goes_on_to_its_limit(
    stigma: Stigma, address: str, kind: str, options: tuple[str, ...], limit: int
) -> None:
    listing = ("execution", "list", "--limit", str(limit), *options)
    shown = min(limit, ALL)
    answer = await stigma(*listing, "-o", "json", STIGMA_API_ADDRESS=address)
    found = [each["id"] for each in json.loads(answer.output)["executions"]]
    assert found == [f"{kind}-{number}" for number in range(shown)]
    table = (await stigma(*listing, STIGMA_API_ADDRESS=address)).output
    assert (f"(the first {limit};" in table) == (shown < ALL)
