"""Histories of workflows, read page by page from either end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client

from stigma_api.temporal.calls import temporal_call

T = TypeVar("T")

CLOSING_EVENTS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    }
)
"""Events that end a workflow."""
RUN_ENDS = CLOSING_EVENTS | {EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW}
"""Events that are the last of a run."""

_PAGE = 500
# Events between two pauses: each may hold a payload that takes a tenth of a second to read.
_ITEMS_PER_TURN = 4


@dataclass(frozen=True)
class Run:
    """One run of a workflow, in any namespace of the cluster."""

    namespace: str
    workflow_id: str
    run_id: str


class Histories:
    """Reads the events of runs; other answers of Temporal are raised as they are."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def oldest_first(self, run: Run, page: int = _PAGE) -> AsyncIterator[HistoryEvent]:
        """Yield a run's events from its start on.

        Raises:
            RPCError: the run is gone, or may not be read.
            ApiError: UNAVAILABLE; Temporal does not answer.
        """
        request = GetWorkflowExecutionHistoryRequest(
            namespace=run.namespace,
            execution=_execution(run),
            maximum_page_size=page,
            skip_archival=True,
        )
        return _events(self._client.workflow_service.get_workflow_execution_history, request)

    def newest_first(self, run: Run, page: int = _PAGE) -> AsyncIterator[HistoryEvent]:
        """Yield a run's events from its end back.

        Raises:
            RPCError: the run is gone, or may not be read.
            ApiError: UNAVAILABLE; Temporal does not answer.
        """
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=run.namespace, execution=_execution(run), maximum_page_size=page
        )
        return _events(
            self._client.workflow_service.get_workflow_execution_history_reverse, request
        )

    async def newest(self, run: Run, count: int) -> list[HistoryEvent]:
        """Return a run's newest events, the newest first.

        Raises:
            RPCError: the run is gone, or may not be read.
            ApiError: UNAVAILABLE; Temporal does not answer.
        """
        found: list[HistoryEvent] = []
        async for event in self.newest_first(run, count):
            found.append(event)
            if len(found) == count:
                break
        return found


async def _events(rpc: Callable[..., Awaitable[Any]], request: Any) -> AsyncIterator[HistoryEvent]:
    """Yield the events of every page of a history."""
    while True:
        async with temporal_call():
            reply = await rpc(request, retry=True)
        for event in reply.history.events:
            yield event
        request.next_page_token = reply.next_page_token
        if not request.next_page_token:
            return


def _execution(run: Run) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)


async def cooperative_iter(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items; every few of them, let other tasks of the event loop run."""
    for place, item in enumerate(items):
        if place % _ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)
        yield item
