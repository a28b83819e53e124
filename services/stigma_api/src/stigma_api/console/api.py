"""The API's services, called in this process as the principal who asks.

Permissions, scope and errors are those of the RPCs, because they are the same code. Bounds are as
wide as theirs, but the console's own: pages take no RPC's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_FULL,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import ListAgentsRequest
from stigma.contracts.executions import Execution, Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    GetExecutionTimelineRequest,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
)
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    WORKFLOW_EXECUTION_VIEW_FULL,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma.workflow.v1.workflow_service_pb2 import ListWorkflowsRequest
from stigma_api import errors
from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.console.searches import Search
from stigma_api.errors import ApiError
from stigma_api.executions.watch import Cursor
from stigma_api.grpc_api.interceptor import Context, with_timeout
from stigma_api.grpc_api.servicers import Servicers

_PAGE_SIZE = 25
_DEFINITIONS = 50
# Of many histories each, read in the event loop that the RPCs share.
_LONG_READS = 4
# No servicer looks at it.
_NO_CONTEXT: Any = None

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True)
class Listed:
    """One page of executions."""

    executions: Sequence[Execution]
    next_page: str
    """What to ask for next; empty on the last page."""


class Api:
    """Reads through the servicers of the API.

    Who calls is said by `calls.act_as`. Every call may be refused as an RPC: RESOURCE_EXHAUSTED, or
    DEADLINE_EXCEEDED. What follows an execution is bounded by the stream it is for.

    Args:
        servicers: what it calls.
        max_calls: most calls at a time.
        call_timeout: longest time of one, with the wait for others before it.
    """

    def __init__(self, servicers: Servicers, *, max_calls: int, call_timeout: timedelta) -> None:
        self._servicers = servicers
        self._calls = ConcurrencyLimit(max_calls, "calls of the console")
        self._call_timeout = call_timeout
        self._long_reads = asyncio.Semaphore(_LONG_READS)

    async def executions(self, search: Search, page: str) -> Listed:
        """Return a page of executions: of one kind in Temporal's order, of both side by side.

        Raises:
            ApiError: as the RPCs; a filter that only one kind understands finds that kind's.
        """
        tokens = _tokens(search.kinds, page)
        answers = await asyncio.gather(
            *(self._list(kind, search, token) for kind, token in tokens.items()),
            return_exceptions=True,
        )
        refusals = [answer for answer in answers if isinstance(answer, BaseException)]
        if refusals and not (len(refusals) < len(answers) and all(map(_misread, refusals))):
            raise refusals[0]
        found: list[Execution] = []
        nexts: dict[Kind, str] = {}
        for kind, answer in zip(tokens, answers, strict=True):
            if not isinstance(answer, BaseException):
                found += answer.executions
                nexts[kind] = answer.next_page_token
        if len(tokens) > 1:
            found.sort(key=_recency, reverse=True)
        return Listed(found, _page(nexts))

    async def execution(self, execution_id: str) -> Execution:
        """Return one execution, an agent's with its conversation, a workflow's with its input."""
        match Kind.of_id(execution_id):
            case Kind.AGENT:
                agents = GetAgentExecutionRequest(id=execution_id, view=AGENT_EXECUTION_VIEW_FULL)
                agent_services = self._servicers.agent_executions
                return await self._call(agent_services.GetAgentExecution, agents)
            case Kind.WORKFLOW:
                view = WORKFLOW_EXECUTION_VIEW_FULL
                workflows = GetWorkflowExecutionRequest(id=execution_id, view=view)
                workflow_services = self._servicers.workflow_executions
                return await self._call(workflow_services.GetWorkflowExecution, workflows)
        raise errors.not_found(f"execution {execution_id}")

    async def happenings(self, execution_id: str, cursor: str) -> AsyncGenerator[str, None]:
        """Yield a cursor each time something happens to an execution, until it ends.

        Raises:
            ApiError: as the RPC; INVALID_ARGUMENT for a cursor that is not, or no more, of it.
        """
        events: AsyncIterator[WatchAgentExecutionResponse | WatchWorkflowExecutionResponse]
        if Kind.of_id(execution_id) is Kind.AGENT:
            agent = WatchAgentExecutionRequest(id=execution_id, cursor=cursor)
            events = self._servicers.agent_executions.WatchAgentExecution(agent, _NO_CONTEXT)
        else:
            workflow = WatchWorkflowExecutionRequest(id=execution_id, cursor=cursor)
            services = self._servicers.workflow_executions
            events = services.WatchWorkflowExecution(workflow, _NO_CONTEXT)
        async for event in events:
            yield event.cursor

    async def timeline(self, execution_id: str) -> ExecutionTimeline:
        """Return an execution's story."""
        request = GetExecutionTimelineRequest(id=execution_id)
        return await self._read(self._servicers.diagnosis.GetExecutionTimeline, request)

    async def stuck(self) -> ListStuckExecutionsResponse:
        """Return the executions that do not get on."""
        request = ListStuckExecutionsRequest()
        return await self._read(self._servicers.diagnosis.ListStuckExecutions, request)

    async def agents(self, page: str) -> tuple[Sequence[Agent], str]:
        """Return a page of agents, and what to ask for next."""
        request = ListAgentsRequest(page_size=_DEFINITIONS, page_token=page)
        reply = await self._call(self._servicers.agents.ListAgents, request)
        return reply.agents, reply.next_page_token

    async def workflows(self, page: str) -> tuple[Sequence[Workflow], str]:
        """Return a page of workflows, and what to ask for next."""
        request = ListWorkflowsRequest(page_size=_DEFINITIONS, page_token=page)
        reply = await self._call(self._servicers.workflows.ListWorkflows, request)
        return reply.workflows, reply.next_page_token

    async def _list(self, kind: Kind, search: Search, token: str) -> Any:
        asked: dict[str, Any] = {
            "filter": search.filter(kind),
            "page_size": _PAGE_SIZE,
            "page_token": token,
        }
        if kind is Kind.AGENT:
            agents = ListAgentExecutionsRequest(**asked)
            agent_services = self._servicers.agent_executions
            return await self._call(agent_services.ListAgentExecutions, agents)
        workflows = ListWorkflowExecutionsRequest(**asked)
        workflow_services = self._servicers.workflow_executions
        return await self._call(workflow_services.ListWorkflowExecutions, workflows)

    async def _call(self, behaviour: Callable[[Q, Context], Awaitable[R]], request: Q) -> R:
        with self._calls.slot():
            return await with_timeout(self._call_timeout, behaviour(request, _NO_CONTEXT))

    async def _read(self, behaviour: Callable[[Q, Context], Awaitable[R]], request: Q) -> R:
        """Call what reads many histories, when few others do."""

        async def in_turn(request: Q, context: Context) -> R:
            async with self._long_reads:
                return await behaviour(request, context)

        return await self._call(in_turn, request)


def newest_run(timeline: ExecutionTimeline) -> str:
    """Return the cursor at the start of the newest run that a timeline tells of; empty for none.

    What happened since it was read happened after that, in this run or in one after it.
    """
    own = (each.run_id for each in timeline.entries if each.workflow_id == timeline.execution_id)
    newest = next(filter(None, reversed(list(own))), "")
    return str(Cursor(newest, 0)) if newest else ""


def _tokens(kinds: Sequence[Kind], page: str) -> dict[Kind, str]:
    """Read a page's name: the token of each kind that has more, as `kind:token` and `;` between."""
    if not page:
        return dict.fromkeys(kinds, "")
    tokens = dict(part.partition(":")[::2] for part in page.split(";"))
    asked = {kind: tokens[kind] for kind in kinds if tokens.get(kind)}
    if not asked:
        raise errors.invalid_argument([("page", "is not a page of this list")])
    return asked


def _page(tokens: dict[Kind, str]) -> str:
    return ";".join(f"{kind}:{token}" for kind, token in tokens.items() if token)


def _misread(refusal: BaseException) -> bool:
    if not isinstance(refusal, ApiError):
        return False
    return refusal.code == grpc.StatusCode.INVALID_ARGUMENT and refusal.fields == ["filter"]


def _recency(execution: Execution) -> tuple[bool, int]:
    """Open ones first, then the last closed: Temporal's own order."""
    closed = execution.status.HasField("end_time")
    moment = execution.status.end_time if closed else execution.status.start_time
    return not closed, moment.ToNanoseconds()
