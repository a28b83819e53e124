"""Executions of agents that pending calls of a document wait for: no history has them yet."""

from __future__ import annotations

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.executions import Kind
from stigma_api.temporal.payloads import text


async def called_execution(client: Client, pending: PendingActivityInfo) -> str:
    """Return the execution that a pending call of an agent waits for; "" where it is not known.

    The details of its heartbeats name it.
    """
    if pending.activity_type.name != CALL_AGENT:
        return ""
    for named in pending.heartbeat_details.payloads[:1]:
        execution_id = await text(client, named)
        if Kind.of_id(execution_id) is Kind.AGENT:
            return execution_id
    return ""
