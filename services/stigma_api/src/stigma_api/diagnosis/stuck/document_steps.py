"""Names of a document's calls under way, as its run's history has them."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma_api.executions.document_facts import CallOpened
from stigma_api.executions.document_history import DocumentHistoryReader
from stigma_api.temporal.histories import Histories, Run

# The newest events: a call under way is among them but where many branches are at work beside it.
_MAX_EVENTS = 200


class DocumentSteps:
    """Tells what a pending activity of the engine's run does for its document."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._histories = Histories(client)

    async def title(self, run: Run, pending: PendingActivityInfo) -> str:
        """Return the call that an activity makes, for instance "HTTP call /do/0/fetch".

        Raises:
            RPCError, ApiError: as `Histories.newest`.
        """
        reader = DocumentHistoryReader(self._client)
        for event in await self._histories.newest(run, _MAX_EVENTS):
            scheduled = event.activity_task_scheduled_event_attributes
            is_start = event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            if is_start and scheduled.activity_id == pending.activity_id:
                for fact in await reader.read(event):
                    if isinstance(fact, CallOpened):
                        return fact.title
                break
        return "a step of its document"
