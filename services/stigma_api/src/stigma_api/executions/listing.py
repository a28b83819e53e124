"""Pages of executions, from Temporal's visibility and in its order.

A page has at most the size that was requested, and fits into one message of any client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionPhase
from stigma.contracts import limits, search_attributes
from stigma.contracts.executions import Execution
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.executions import outcome
from stigma_api.kinds import E, ExecutionKind
from stigma_api.requests import validation
from stigma_api.requests.filters import compile_filter
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.visibility import quoted

_QUERY_HASH_BYTES = 8
_PHASE_NAMES = frozenset(AgentExecutionPhase.keys())


class Listing(Generic[E]):
    """Lists the executions of one kind and task queue."""

    def __init__(self, client: Client, kind: ExecutionKind[E], task_queue: str) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._task_queue = task_queue

    async def page(
        self, principal: Principal, filter_text: str, *, size: int, token: str
    ) -> tuple[list[E], str]:
        """Return a page of the executions visible to the principal, and the next page's token.

        Raises:
            ApiError: INVALID_ARGUMENT; on `filter`, `page_size` or `page_token`.
        """
        query = self.query(principal, filter_text)
        size, begin = validation.page_size(size), _temporal_token(query, token)
        page, after = await self._fetch(query, size, begin)
        while (fitting := _fitting_count(page)) < len(page):
            # The token goes on after Temporal's own page: so that one has to end here.
            page, after = await self._fetch(query, fitting, begin)
        return page, _page_token(query, after) if after else ""

    def query(self, principal: Principal, filter_text: str) -> str:
        """Return the visibility query, with the principal's scope added."""
        conditions: list[str] = [
            f"WorkflowType = {quoted(self._kind.workflow_type)}",
            f"TaskQueue = {quoted(self._task_queue)}",
            "ExecutionStatus != 'ContinuedAsNew'",
        ]
        if not principal.is_admin:
            conditions.append(f"{search_attributes.PRINCIPAL.name} = {quoted(principal.name)}")
        return " AND ".join([*conditions, *compile_filter(filter_text, self._kind.kind)])

    def waiting_query(self, principal: Principal, filter_text: str, *, of_others: bool) -> str:
        """Return the visibility query of executions that wait for people.

        Args:
            principal: whose executions, unless `of_others`.
            filter_text: as of `page`.
            of_others: executions of all principals.
        """
        conditions: list[str] = [
            f"WorkflowType = {quoted(self._kind.workflow_type)}",
            f"TaskQueue = {quoted(self._task_queue)}",
            "ExecutionStatus = 'Running'",
            f"{search_attributes.WAITING_SINCE.name} IS NOT NULL",
        ]
        if not of_others:
            conditions.append(f"{search_attributes.PRINCIPAL.name} = {quoted(principal.name)}")
        return " AND ".join([*conditions, *compile_filter(filter_text, self._kind.kind)])

    async def infos(
        self, query: str, size: int, token: str
    ) -> tuple[Sequence[WorkflowExecutionInfo], str]:
        """Return a page of what Temporal knows of executions, and the next page's token.

        Raises:
            ApiError: INVALID_ARGUMENT; on `page_size` or `page_token`.
        """
        begin = _temporal_token(query, token)
        page, after = await self._fetch_infos(query, validation.page_size(size), begin)
        return page, _page_token(query, after) if after else ""

    async def _fetch(self, query: str, size: int, token: bytes) -> tuple[list[E], bytes]:
        """Return one page of Temporal's, and its token of the next one."""
        infos, after = await self._fetch_infos(query, size, token)
        return [await self.execution(info) for info in infos], after

    async def _fetch_infos(
        self, query: str, size: int, token: bytes
    ) -> tuple[Sequence[WorkflowExecutionInfo], bytes]:
        listed = ListWorkflowExecutionsRequest(
            namespace=self._client.namespace, page_size=size, next_page_token=token, query=query
        )
        try:
            async with temporal_call():
                reply = await self._client.workflow_service.list_workflow_executions(
                    listed, retry=True
                )
        except RPCError as error:
            if error.status != RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise errors.invalid_argument(
                [("page_token", "is not a token of this list")]
            ) from error
        return reply.executions, reply.next_page_token

    async def execution(self, info: WorkflowExecutionInfo) -> E:
        """Return an execution as a list shows it."""
        execution = await outcome.from_memo(self._client, info.memo.fields, self._kind.execution)
        execution.id = info.execution.workflow_id
        noted = decode_typed_search_attributes(info.search_attributes).get(search_attributes.PHASE)
        named = f"AGENT_EXECUTION_PHASE_{noted}"
        known = named in _PHASE_NAMES
        phase = AgentExecutionPhase.Value(named) if known else outcome.phase_of(info.status)
        outcome.put_phase(execution, phase)
        execution.status.ClearField("output")
        if info.HasField("close_time"):
            execution.status.end_time.CopyFrom(info.close_time)
        return execution


def _fitting_count(page: Sequence[Execution]) -> int:
    """Return the number of executions that fit on a page, at least one."""
    contents = accumulate(execution.ByteSize() for execution in page)
    return max(1, sum(content <= limits.MAX_PAGE_BYTES for content in contents))


def _page_token(query: str, token: bytes) -> str:
    """Return a page token that fits only the list it came from."""
    return base64.urlsafe_b64encode(_query_hash(query) + token).decode()


def _temporal_token(query: str, token: str) -> bytes:
    try:
        content = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b"?"
    if content and content[:_QUERY_HASH_BYTES] != _query_hash(query):
        raise errors.invalid_argument([("page_token", "is not a token of this list")])
    return content[_QUERY_HASH_BYTES:]


def _query_hash(query: str) -> bytes:
    return hashlib.sha256(query.encode()).digest()[:_QUERY_HASH_BYTES]
