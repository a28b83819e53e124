"""Conversations of runs, read from Temporal and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INTERNAL
from stigma.contracts.conversation_history import ConversationHistory
from stigma.contracts.errors import reason_name

_TIMEOUT = timedelta(seconds=10)
# A step with one tool call adds 12 events, one with twenty about 90.
_NEWER_EVENTS = 50


class ConversationNotFoundError(Exception):
    """A run's history that has no event of the activity that reads it."""


class Conversations:
    """Conversations by run, the ones used last in memory: of those only newer events are read.

    A run that was reset is another run: it has events of its own.
    """

    def __init__(self, client: Client, max_bytes: int) -> None:
        self._client = client
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, ConversationHistory] = OrderedDict()
        self._size = 0

    async def of_activity(self) -> ConversationHistory:
        """Return the conversation of the run whose activity this is, up to its own event.

        Raises:
            ApplicationError: it cannot be read now.
        """
        info = activity.info()
        try:
            return await self.read(
                info.workflow_id or "", info.workflow_run_id or "", info.activity_id
            )
        except RPCError as error:
            message = f"Temporal did not answer: {error.status.name}"
        except ConversationNotFoundError:
            message = "the history of the run has no event of this activity"
        # Retried: Temporal has it, perhaps not yet where it was read.
        raise ApplicationError(message, type=reason_name(FAILURE_REASON_INTERNAL)) from None

    async def read(self, workflow_id: str, run_id: str, activity_id: str) -> ConversationHistory:
        """Return the conversation of a run up to the event that scheduled an activity.

        Raises:
            RPCError: Temporal did not answer.
            ConversationNotFoundError: the run has no such event.
        """
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        # Out of the cache while it is read on: a cancelled read leaves it half read.
        found = self._take(run_id)
        is_complete = found is not None and await self._read_newer(found, execution, activity_id)
        if found is None or not is_complete:
            found = ConversationHistory(self._client.data_converter)
            await self._read_all(found, execution, activity_id)
        self._keep(run_id, found)
        return found

    async def _read_all(
        self, found: ConversationHistory, execution: WorkflowExecution, activity_id: str
    ) -> None:
        token = b""
        while True:
            page = await self._client.workflow_service.get_workflow_execution_history(
                GetWorkflowExecutionHistoryRequest(
                    namespace=self._client.namespace, execution=execution, next_page_token=token
                ),
                retry=True,
                timeout=_TIMEOUT,
            )
            for event in page.history.events:
                await found.add(event)
                if _scheduled(event) == activity_id:
                    return
            token = page.next_page_token
            if not token:
                raise ConversationNotFoundError

    async def _read_newer(
        self, found: ConversationHistory, execution: WorkflowExecution, activity_id: str
    ) -> bool:
        """Read what came after the last event; return whether the activity's event was there."""
        newer: list[HistoryEvent] = []
        token = b""
        while True:
            page = await self._client.workflow_service.get_workflow_execution_history_reverse(
                GetWorkflowExecutionHistoryReverseRequest(
                    namespace=self._client.namespace,
                    execution=execution,
                    next_page_token=token,
                    maximum_page_size=_NEWER_EVENTS,
                ),
                retry=True,
                timeout=_TIMEOUT,
            )
            events = [each for each in page.history.events if each.event_id > found.last_event_id]
            newer += events
            token = page.next_page_token
            if len(events) < len(page.history.events) or not token:
                break
        for event in reversed(newer):
            await found.add(event)
            if _scheduled(event) == activity_id:
                return True
        return False

    def _take(self, run_id: str) -> ConversationHistory | None:
        found = self._kept.pop(run_id, None)
        if found is not None:
            self._size -= found.size
        return found

    def _keep(self, run_id: str, found: ConversationHistory) -> None:
        self._take(run_id)
        self._kept[run_id] = found
        self._size += found.size
        while self._size > self._max_bytes:
            self._take(next(iter(self._kept)))


def _scheduled(event: HistoryEvent) -> str:
    """Return the id of the activity that an event scheduled; empty for any other event."""
    return event.activity_task_scheduled_event_attributes.activity_id
