"""Lists executions: one page of Temporal's visibility, in Temporal's own order."""

from __future__ import annotations

import base64
import binascii
import hashlib

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionPhase
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListAgentExecutionsRequest,
    ListAgentExecutionsResponse,
)
from stigma.contracts import search_attributes
from stigma_api import outcome, status, validation
from stigma_api.filters import compile_filter, quoted
from stigma_api.principals import Principal
from stigma_api.temporal import answering

_MARK_BYTES = 8
_PHASE_NAMES = frozenset(AgentExecutionPhase.keys())


class Listing:
    """Lists the executions of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def page(
        self, principal: Principal, request: ListAgentExecutionsRequest
    ) -> ListAgentExecutionsResponse:
        """Return a page of what this principal may see.

        Raises:
            CallError: INVALID_ARGUMENT; on `filter`, `page_size` or `page_token`.
        """
        query = self.query(principal, request.filter)
        listed = ListWorkflowExecutionsRequest(
            namespace=self._client.namespace,
            page_size=validation.page_size(request.page_size),
            next_page_token=_unmarked(query, request.page_token),
            query=query,
        )
        try:
            async with answering():
                reply = await self._client.workflow_service.list_workflow_executions(
                    listed, retry=True
                )
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise status.invalid([("page_token", "is not a token of this list")]) from error
        page = ListAgentExecutionsResponse()
        for info in reply.executions:
            page.executions.append(await self._execution(info))
        if reply.next_page_token:
            page.next_page_token = _marked(query, reply.next_page_token)
        return page

    def query(self, principal: Principal, filter_text: str) -> str:
        """Return the visibility query, with the principal's scope added."""
        conditions = [
            "WorkflowType = 'AgentWorkflow'",
            f"TaskQueue = {quoted(self._task_queue)}",
            "ExecutionStatus != 'ContinuedAsNew'",
        ]
        if not principal.is_admin:
            conditions.append(f"{search_attributes.PRINCIPAL.name} = {quoted(principal.name)}")
        return " AND ".join([*conditions, *compile_filter(filter_text)])

    async def _execution(self, info: WorkflowExecutionInfo) -> AgentExecution:
        execution = await outcome.from_memo(self._client, info.memo.fields)
        execution.id = info.execution.workflow_id
        noted = decode_typed_search_attributes(info.search_attributes).get(search_attributes.PHASE)
        execution.status.phase = (
            AgentExecutionPhase.Value(f"AGENT_EXECUTION_PHASE_{noted}")
            if f"AGENT_EXECUTION_PHASE_{noted}" in _PHASE_NAMES
            else outcome.phase_of(info.status)
        )
        execution.status.ClearField("output")
        if info.HasField("close_time"):
            execution.status.end_time.CopyFrom(info.close_time)
        return execution


def _marked(query: str, token: bytes) -> str:
    """Return a page token that fits only the list it came from."""
    return base64.urlsafe_b64encode(_mark(query) + token).decode()


def _unmarked(query: str, token: str) -> bytes:
    try:
        content = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b"?"
    if content and content[:_MARK_BYTES] != _mark(query):
        raise status.invalid([("page_token", "is not a token of this list")])
    return content[_MARK_BYTES:]


def _mark(query: str) -> bytes:
    return hashlib.sha256(query.encode()).digest()[:_MARK_BYTES]
