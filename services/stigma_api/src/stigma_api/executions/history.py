"""Attempts as a history tells them: only those that the workflow took."""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.contracts import tokens
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind, CarriedState
from stigma_api.temporal.payloads import message


async def signaled(client: Client, event: HistoryEvent, digest: str) -> Bind | None:
    """Return the attempt that a signal bound to the request of this digest, if it did."""
    attributes = event.workflow_execution_signaled_event_attributes
    if attributes.signal_name != "bind":
        return None
    bind = await message(client, attributes.input.payloads, Bind)
    return bind if bind.spec_digest.hex() == digest and _is_token(bind.token) else None


async def carried(client: Client, event: HistoryEvent) -> CarriedState:
    """Return what an agent's run goes on with, from the event that it started with."""
    content = event.workflow_execution_started_event_attributes.input.payloads
    found = (await message(client, content, AgentWorkflowInput)).carried
    bound = [bind for bind in found.bindings if _is_token(bind.token)]
    del found.bindings[:]
    found.bindings.extend(bound)
    return found


def _is_token(token: bytes) -> bool:
    try:
        tokens.parse(token)
    except tokens.InvalidTokenError:
        return False
    return True
