"""Pages of the histories that watches follow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import grpc
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma_api.errors import ApiError
from stigma_api.executions.cursors import Position, bad_cursor
from stigma_api.temporal.calls import temporal_call

# Temporal answers a long poll after 20 s at the latest.
_LONG_POLL = timedelta(seconds=40)


class HistoryPages:
    """Reads the histories of runs, oldest event first."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def next(
        self, workflow_id: str, run_id: str, token: bytes
    ) -> GetWorkflowExecutionHistoryResponse:
        """Return the page that a token is of; at the end of an open run, wait for more.

        Raises:
            ApiError: INVALID_ARGUMENT on `cursor`, the run is gone; UNAVAILABLE or
                RESOURCE_EXHAUSTED.
        """
        return await self._read(workflow_id, run_id, token, wait=True)

    async def first_position(self, workflow_id: str, run_ids: Iterable[str]) -> Position | None:
        """Return the start of the first of some runs that Temporal still has; None: it has none.

        Raises:
            ApiError: UNAVAILABLE or RESOURCE_EXHAUSTED.
        """
        for run_id in run_ids:
            try:
                await self._read(workflow_id, run_id, b"", wait=False)
            except ApiError as error:
                if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                    raise
            else:
                return Position(run_id, 0)
        return None

    async def _read(
        self, workflow_id: str, run_id: str, token: bytes, *, wait: bool
    ) -> GetWorkflowExecutionHistoryResponse:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            next_page_token=token,
            wait_new_event=wait,
            skip_archival=True,
        )
        try:
            async with temporal_call(_LONG_POLL):
                return await self._client.workflow_service.get_workflow_execution_history(
                    request, retry=True, timeout=_LONG_POLL
                )
        except RPCError as error:
            if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}:
                raise
            raise bad_cursor() from None
