"""Calls about executions of either kind: an id says which service knows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import grpc

from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_BASIC,
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    WORKFLOW_EXECUTION_VIEW_BASIC,
    WORKFLOW_EXECUTION_VIEW_FULL,
    CancelWorkflowExecutionRequest,
    GetWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    WatchWorkflowExecutionRequest,
    WatchWorkflowExecutionResponse,
)
from stigma_cli.connections import Api
from stigma_cli.exits import CliError, Exit, of_api

Event: TypeAlias = WatchAgentExecutionResponse | WatchWorkflowExecutionResponse

# A stream that breaks is resumed after its last event; so often in a row without a new one.
_RESUMES = 5
_RESUME_WAIT_SECONDS = 1.0
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def get_execution(api: Api, execution_id: str, *, full: bool = False) -> Execution:
    """Return one execution; `full` with what may be long: conversation, input and document."""
    if _is_workflow(execution_id):
        whole = WORKFLOW_EXECUTION_VIEW_FULL if full else WORKFLOW_EXECUTION_VIEW_BASIC
        asked = GetWorkflowExecutionRequest(id=execution_id, view=whole)
        return await api.call(api.workflow_executions.GetWorkflowExecution, asked)
    view = AGENT_EXECUTION_VIEW_FULL if full else AGENT_EXECUTION_VIEW_BASIC
    request = GetAgentExecutionRequest(id=execution_id, view=view)
    return await api.call(api.executions.GetAgentExecution, request)


async def list_executions(
    api: Api, kind: Kind, query: str, limit: int
) -> tuple[Sequence[Execution], bool]:
    """Return up to so many executions of a kind, and whether there are more."""
    found: list[Execution] = []
    token = ""
    while True:
        # A page ends early where its executions are large.
        page = await _page(api, kind, query, limit - len(found), token)
        found += page.executions
        token = page.next_page_token
        if not token or len(found) >= limit:
            return found, bool(token)


async def cancel_execution(api: Api, execution_id: str, reason: str) -> Execution:
    """Ask an execution to stop; return it as it is."""
    if _is_workflow(execution_id):
        asked = CancelWorkflowExecutionRequest(id=execution_id, reason=reason)
        return await api.call(api.workflow_executions.CancelWorkflowExecution, asked)
    request = CancelAgentExecutionRequest(id=execution_id, reason=reason)
    return await api.call(api.executions.CancelAgentExecution, request)


async def events(api: Api, execution_id: str, cursor: str = "") -> AsyncIterator[Event]:
    """Yield what happens to an execution until its end, over broken connections too.

    Raises:
        CliError: it cannot be watched, or the connection breaks again and again.
    """
    failures = 0
    while True:
        try:
            async for event in _stream(api, execution_id, cursor):
                failures = 0
                cursor = event.cursor
                yield event
                if event.HasField("ended"):
                    return
        except grpc.aio.AioRpcError as error:
            failures += 1
            if error.code() not in _BROKEN or failures > _RESUMES:
                raise of_api(error, api.address) from None
        else:
            failures += 1
            if failures > _RESUMES:
                raise CliError("the API ends the stream too early", code=Exit.UNREACHABLE)
        await asyncio.sleep(_RESUME_WAIT_SECONDS)


async def _page(
    api: Api, kind: Kind, query: str, size: int, token: str
) -> ListAgentExecutionsResponse | ListWorkflowExecutionsResponse:
    if kind is Kind.WORKFLOW:
        asked = ListWorkflowExecutionsRequest(filter=query, page_size=size, page_token=token)
        return await api.call(api.workflow_executions.ListWorkflowExecutions, asked)
    request = ListAgentExecutionsRequest(filter=query, page_size=size, page_token=token)
    return await api.call(api.executions.ListAgentExecutions, request)


async def _stream(api: Api, execution_id: str, cursor: str) -> AsyncIterator[Event]:
    if _is_workflow(execution_id):
        asked = WatchWorkflowExecutionRequest(id=execution_id, cursor=cursor)
        rpc = api.workflow_executions.WatchWorkflowExecution
        async for told in rpc(asked, metadata=api.metadata):
            yield told
        return
    request = WatchAgentExecutionRequest(id=execution_id, cursor=cursor)
    async for event in api.executions.WatchAgentExecution(request, metadata=api.metadata):
        yield event


def _is_workflow(execution_id: str) -> bool:
    """Whether the id is a workflow's; what is no id at all, the service of agents refuses."""
    return Kind.of_id(execution_id) is Kind.WORKFLOW
