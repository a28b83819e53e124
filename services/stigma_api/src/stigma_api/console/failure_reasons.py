"""Reasons why executions of a list have failed: Temporal's list itself does not have them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    Failure,
)
from stigma.contracts.executions import Execution
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api
from stigma_api.errors import ApiError

_FAILED = frozenset({AGENT_EXECUTION_PHASE_FAILED, AGENT_EXECUTION_PHASE_TIMED_OUT})
# Failures kept: what has ended does not change any more.
_MAX_KEPT = 2000
_MAX_READS = 4


class FailureReasons:
    """Adds failures to executions that a principal was shown in a list."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kept: dict[tuple[str, int], Failure] = {}
        self._reads = asyncio.Semaphore(_MAX_READS)

    async def add(self, principal: Principal, executions: Sequence[Execution]) -> None:
        """Set the failure of each execution that has failed, as far as it can be read now."""
        await asyncio.gather(
            *(self._add(principal, each) for each in executions if each.status.phase in _FAILED)
        )

    async def _add(self, principal: Principal, execution: Execution) -> None:
        if execution.status.HasField("failure"):
            return
        key = execution.id, execution.status.end_time.ToNanoseconds()
        if (known := self._kept.get(key)) is not None:
            execution.status.failure.CopyFrom(known)
            return
        try:
            async with self._reads:
                ended = await self._api.outcome(principal, execution.id)
        except ApiError:
            return  # its page says what is the matter
        if not ended.status.HasField("failure"):
            return
        if len(self._kept) >= _MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = ended.status.failure
        execution.status.failure.CopyFrom(ended.status.failure)
