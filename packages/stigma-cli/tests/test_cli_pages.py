"""Lists over the pages of an API that ends them early, as it does where entries are large."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

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
from stigma_cli.errors import Exit
from stigma_cli.execution_list import restriction_of
from tests.stack.stand_in_api import serving

if TYPE_CHECKING:
    from conftest import Stigma

Context = grpc.aio.ServicerContext[Any, Any]
ALL = 7
OPEN = 3
E = TypeVar("E", AgentExecution, WorkflowExecution)


class TwoAtATime(AgentExecutionServiceServicer, WorkflowExecutionServiceServicer):
    """Has no room for more than two executions on a page."""

    async def ListAgentExecutions(
        self, request: ListAgentExecutionsRequest, context: Context
    ) -> ListAgentExecutionsResponse:
        numbers, token = _page(request)
        _refuse_other_fields(request.filter, "workflow")
        found = [_dated(AgentExecution(id=f"agent-{number}")) for number in numbers]
        return ListAgentExecutionsResponse(executions=found, next_page_token=token)

    async def ListWorkflowExecutions(
        self, request: ListWorkflowExecutionsRequest, context: Context
    ) -> ListWorkflowExecutionsResponse:
        numbers, token = _page(request)
        _refuse_other_fields(request.filter, "agent")
        found = [_dated(WorkflowExecution(id=f"workflow-{number}")) for number in numbers]
        return ListWorkflowExecutionsResponse(executions=found, next_page_token=token)


def _page(
    request: ListAgentExecutionsRequest | ListWorkflowExecutionsRequest,
) -> tuple[range, str]:
    first = int(request.page_token or 0)
    end = min(first + min(request.page_size, 2), ALL)
    return range(first, end), str(end) if end < ALL else ""


def _dated(execution: E) -> E:
    """Give an execution its times: the first three are open, and kinds take turns."""
    kind, _, number = execution.id.partition("-")
    age = 2 * int(number) + (kind == "agent")
    execution.status.start_time.seconds = 1_800_000_000 - age
    if int(number) >= OPEN:
        execution.status.end_time.seconds = 1_800_001_000 - age
    return execution


def _refuse_other_fields(query: str, other: str) -> None:
    assert other not in query, "the command asks for what this kind does not have"


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[str]:
    stand_in = TwoAtATime()  # type: ignore[abstract] # what no list calls stays unimplemented
    services = (
        add_AgentExecutionServiceServicer_to_server,
        add_WorkflowExecutionServiceServicer_to_server,
    )
    async with serving(stand_in, *services) as served:
        yield served


@pytest.mark.parametrize(
    ("kind", "options"), [("agent", ("--agents",)), ("workflow", ("--workflows",))]
)
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


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 2 * ALL - 1, 2 * ALL, 50])
@pytest.mark.parametrize("options", [(), ("--agents", "--workflows")])
async def test_a_list_of_both_kinds_is_in_one_order(
    stigma: Stigma, address: str, options: tuple[str, ...], limit: int
) -> None:
    listing = ("execution", "list", "--limit", str(limit), *options)
    answer = await stigma(*listing, "-o", "json", STIGMA_API_ADDRESS=address)
    found = json.loads(answer.output)["executions"]
    both = [f"{kind}-{number}" for number in range(ALL) for kind in ("workflow", "agent")]
    assert [each["id"] for each in found] == both[:limit]
    assert [each["kind"] for each in found] == [each.partition("-")[0] for each in both[:limit]]
    table = (await stigma(*listing, STIGMA_API_ADDRESS=address)).output
    assert table.splitlines()[0].split() == ["ID", "KIND", "NAME", "PHASE", "AGE", "TOOK"]
    assert (f"(the first {limit};" in table) == (limit < 2 * ALL)


@pytest.mark.parametrize(
    ("query", "kind", "note"),
    [
        ('agent = "a"', "agent", "executions of agents only: agent is a condition of theirs"),
        (
            'root="x" AND phase = RUNNING AND parent = "y"',
            "agent",
            "executions of agents only: root and parent are conditions of theirs",
        ),
        (
            'labels.agent = "workflow = " AND workflow = "a"',
            "workflow",
            "executions of workflows only: workflow is a condition of theirs",
        ),
    ],
)
async def test_a_condition_of_one_kind_restricts_the_list_and_says_so(
    stigma: Stigma, address: str, query: str, kind: str, note: str
) -> None:
    if kind == "workflow":  # the stand-in would take the label for a field
        restriction, query = restriction_of(query), query.partition("AND ")[2]
        assert restriction == restriction_of(query)
    listing = ("execution", "list", "--filter", query)
    table = await stigma(*listing, STIGMA_API_ADDRESS=address)
    assert table.stderr == f"stigma: {note}\n"
    assert table.stdout.splitlines()[0].split()[1] == kind.upper()
    # Scripts of 0.2.0 may read both streams as one.
    answer = await stigma(*listing, "-o", "json", STIGMA_API_ADDRESS=address)
    assert answer.stderr == ""
    listed = json.loads(answer.stdout)
    assert listed["kinds"] == [kind]
    assert {each["kind"] for each in listed["executions"]} == {kind}


async def test_conditions_of_both_kinds_are_refused(stigma: Stigma) -> None:
    query = 'agent = "a" AND workflow = "b"'
    refused = await stigma("execution", "list", "--filter", query, STIGMA_API_ADDRESS="127.0.0.1:1")
    assert refused.exit_code == Exit.USAGE
    assert refused.stderr.startswith("error: no execution meets the filter: executions of agents")
