"""Whether anybody still waits for an execution: looked up in the caller's own workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_WAITING, TemporalCaller
from stigma.contracts import search_attributes, tokens
from stigma.contracts.activities import WATCH_CALLER
from stigma.internal.v1.execution_pb2 import Bind
from stigma.runtime.pending_activities import find_pending_activity
from stigma_api.diagnosis.stuck.attempts import Attempts
from stigma_api.executions.reader import ExecutionDescription
from stigma_api.temporal.calls import temporal_call

# Attempts looked up before it is said that nobody waits, the newest.
_MAX_ATTEMPTS = 5


class StuckCallers:
    """Looks for the activities that wait for an execution."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._attempts = Attempts(client)

    async def are_gone(self, subject: ExecutionDescription[Any]) -> bool:
        """Return whether somebody waited, and nobody does any more; False where nobody can tell."""
        if not _is_waited_for(subject):
            return False
        declared = subject.execution.spec.caller
        try:
            if declared.activity_id and await self._waits(declared):
                return False
            # Another attempt may be bound meanwhile, in another run; histories cost more.
            first = _newest(await self._attempts.first(subject))
            if await self._any_waits(first):
                return False
            every = _newest(await self._attempts.all(subject) or ())
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


def _is_waited_for(subject: ExecutionDescription[Any]) -> bool:
    """Return whether somebody has asked for the outcome: with its start, or only later."""
    described = subject.described
    attributes = described.workflow_execution_info.search_attributes
    noted = decode_typed_search_attributes(attributes).get(search_attributes.CALLBACK)
    return (
        subject.execution.status.callback.state == CALLBACK_STATE_WAITING
        or noted == search_attributes.CALLBACK_WAITING
        or any(each.activity_type.name == WATCH_CALLER for each in described.pending_activities)
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
