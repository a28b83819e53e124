"""Tells one history event of an execution in the API's words. Tokens appear as fingerprints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_service_pb2 import (
    CallbackBound,
    CallbackDelivering,
    CancelRequested,
    WatchAgentExecutionResponse,
)
from stigma.contracts import tokens
from stigma.contracts.activities import DELIVERIES
from stigma.contracts.executions import Execution
from stigma.internal.v1.execution_pb2 import Bind, DeliverCallbackRequest
from stigma.workflow.v1.workflow_execution_service_pb2 import WatchWorkflowExecutionResponse
from stigma_api.executions import outcome
from stigma_api.temporal.payloads import message

M = TypeVar("M", bound=Message)
T = TypeVar("T", WatchAgentExecutionResponse, WatchWorkflowExecutionResponse)

_LOCAL_ACTIVITY = "core_local_activity"


class Narrator(ABC, Generic[T]):
    """Tells the events of one run, in order; what closes it is told by who follows the runs."""

    response: type[T]

    def __init__(self, client: Client) -> None:
        self._client = client
        self._digest = ""
        self._newest_token = b""
        self._delivering = False
        self._is_news = True
        self.told_at = 0
        """Nanoseconds since the epoch of the last event that was worth telling."""

    async def tell(self, event: HistoryEvent, *, is_news: bool = True) -> T | None:
        """Return what to tell about an event; None for Temporal's own housekeeping.

        Args:
            event: the next one of the run.
            is_news: whether it is to be told at all; else it is only kept in mind for what comes
                after it, and most of it stays unread.
        """
        self._is_news = is_news
        told = await self._tell(event)
        if told is not None:
            self.told_at = event.event_time.ToNanoseconds()
        return told if is_news else None

    def ended(self, execution: Execution) -> T:
        """Return what to tell at the end of the last run."""
        told = self.response()
        told.ended.execution.MergeFrom(cast("Any", execution))
        return told

    @abstractmethod
    async def started(self, event: HistoryEvent) -> T | None:
        """Return what to tell about the event that started a run."""

    @abstractmethod
    async def worked(self, event: HistoryEvent) -> T | None:
        """Return what to tell about an event that only this kind of executions has."""

    async def read(self, content: Iterable[Payload], kind: type[M]) -> M:
        """Decode an event's first payload, which only this event is told by: if it is news."""
        return await self.keep(content, kind) if self._is_news else kind()

    async def keep(self, content: Iterable[Payload], kind: type[M]) -> M:
        """Decode an event's first payload, which later events are told by as well.

        One that is no such message is empty: it would end every stream at the same place.
        """
        return await message(self._client, content, kind)

    async def _tell(self, event: HistoryEvent) -> T | None:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                fields = event.workflow_execution_started_event_attributes.memo.fields
                self._digest = await outcome.digest_in_memo(self._client, fields)
                return await self.started(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                return await self._signaled(event)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                cause = event.workflow_execution_cancel_requested_event_attributes.cause
                return self.response(cancel_requested=CancelRequested(reason=cause))
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED if self._is_delivery(event):
                return await self._scheduled(event)
            case EventType.EVENT_TYPE_MARKER_RECORDED:
                return self._marked(event)
            case _:
                return await self.worked(event)

    async def _signaled(self, event: HistoryEvent) -> T | None:
        attributes = event.workflow_execution_signaled_event_attributes
        if attributes.signal_name != "bind":
            return None
        bind = await self.keep(attributes.input.payloads, Bind)
        if not bind.token or bind.spec_digest.hex() != self._digest:
            return None  # another request under the same id, or no bind: the workflow ignored it
        self._newest_token = bind.token
        return self.response(
            callback_bound=CallbackBound(fingerprint=tokens.fingerprint(bind.token))
        )

    def _is_delivery(self, event: HistoryEvent) -> bool:
        scheduled = event.activity_task_scheduled_event_attributes
        return scheduled.activity_type.name in DELIVERIES

    async def _scheduled(self, event: HistoryEvent) -> T | None:
        if self._delivering:
            return None
        scheduled = event.activity_task_scheduled_event_attributes
        delivery = await self.read(scheduled.input.payloads, DeliverCallbackRequest)
        return self._delivers(delivery.token)

    def _marked(self, event: HistoryEvent) -> T | None:
        marker = event.marker_recorded_event_attributes
        described = b"".join(p.data for p in marker.details["data"].payloads)
        delivery = marker.marker_name == _LOCAL_ACTIVITY and any(
            name.encode() in described for name in DELIVERIES
        )
        return self._delivers() if delivery and not self._delivering else None

    def _delivers(self, token: bytes = b"") -> T:
        """Tell that a delivery begins; where it is not said to whom, to the newest."""
        self._delivering = True
        fingerprint = tokens.fingerprint(token or self._newest_token)
        return self.response(callback_delivering=CallbackDelivering(fingerprint=fingerprint))
