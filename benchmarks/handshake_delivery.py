"""How long a finished agent's outcome takes to reach its caller, read from both histories."""

from __future__ import annotations

import uuid

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.common import RawValue

from benchmarks.handshake_load import run_document
from benchmarks.handshake_site import Site
from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts import payloads

_COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED


async def measure_delivery(site: Site, calls: int) -> list[float]:
    """Return seconds from the answer in the agent's history to the completed activity."""
    return [await _measure(site) for _ in range(calls)]


async def _measure(site: Site) -> float:
    caller = f"Delivery-{uuid.uuid4().hex}"
    await run_document(site, caller, workflow_id=caller)
    resolved = await _completion(site, caller)
    [result] = resolved.activity_task_completed_event_attributes.result.payloads
    execution = payloads.from_raw(RawValue(result), AgentExecution)
    answered = await _completion(site, execution.id)
    return (resolved.event_time.ToNanoseconds() - answered.event_time.ToNanoseconds()) / 1e9


async def _completion(site: Site, workflow_id: str) -> HistoryEvent:
    history = await site.client.get_workflow_handle(workflow_id).fetch_history()
    [event] = [event for event in history.events if event.event_type == _COMPLETED]
    return event
