"""Callers that still wait for an execution, looked up in their own workflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_WAITING, TemporalCaller
from stigma.contracts import search_attributes, tokens
from stigma.contracts.activities import WATCH_CALLER
from stigma.contracts.tools import called_by_activity
from stigma.internal.v1.execution_pb2 import Bind
from stigma.runtime.pending_activities import find_pending_activity
from stigma_api.diagnosis.stuck.attempts import BoundAttempts
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.calls import temporal_call

# Attempts looked up, the newest, before an execution counts as abandoned.
_MAX_ATTEMPTS = 5


class WaitingCallers:
    """Finds the activities that wait for an execution."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._attempts = BoundAttempts(client)

    async def are_gone(self, description: ExecutionDescription[Any]) -> bool:
        """Return whether a caller waited, and none does any more; False if it cannot be known."""
        if not _is_waited_for(description):
            return False
        declared = description.execution.spec.caller
        try:
            if declared.activity_id and await self._waits(declared):
                return False
            # Another attempt may be bound meanwhile, in another run; histories cost more.
            first = _newest(await self._attempts.first(description))
            if await self._any_waits(first):
                return False
            every = _newest(await self._attempts.all(description) or ())
            newer = [bind for bind in every if bind not in first]
            return bool(every) and not await self._any_waits(newer)
        except RPCError as error:
            if error.status not in {
                RPCStatusCode.PERMISSION_DENIED,
                RPCStatusCode.UNAUTHENTICATED,
                RPCStatusCode.INVALID_ARGUMENT,
                RPCStatusCode.NOT_FOUND,
            }:
                raise
            return False

    async def _any_waits(self, bound: Sequence[Bind]) -> bool:
        return any([await self._waits(_identity(bind)) for bind in bound])

    async def _waits(self, caller: TemporalCaller) -> bool:
        async with temporal_call():
            pending = await find_pending_activity(
                self._client,
                namespace=caller.namespace,
                workflow_id=caller.workflow_id,
                run_id=caller.run_id,
                activity_id=caller.activity_id,
            )
        return pending is not None


def _is_waited_for(description: ExecutionDescription[Any]) -> bool:
    """Return whether a caller was bound, with the start or later."""
    described = description.described
    attributes = described.workflow_execution_info.search_attributes
    recorded = decode_typed_search_attributes(attributes).get(search_attributes.CALLBACK)
    return (
        description.execution.status.callback.state == CALLBACK_STATE_WAITING
        or recorded == search_attributes.CALLBACK_WAITING
        or any(
            each.activity_type.name == WATCH_CALLER and not called_by_activity(each.activity_id)
            for each in described.pending_activities
        )
    )


def _newest(bound: Sequence[Bind]) -> Sequence[Bind]:
    return bound[::-1][:_MAX_ATTEMPTS]


def _identity(bind: Bind) -> TemporalCaller:
    token = tokens.parse(bind.token)
    return TemporalCaller(
        namespace=bind.caller.namespace,
        workflow_id=token.workflow_id,
        run_id=token.run_id,
        activity_id=token.activity_id,
    )
