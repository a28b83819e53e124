"""Executions of one kind: starts, reads, lists, watches and cancels them for principals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Generic

from temporalio.client import Client

from stigma.agent.v1.agent_execution_service_pb2 import (
    CANCEL_MODE_AFTER_STEP,
    CancelAgentExecutionRequest,
)
from stigma.contracts import ids
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.executions.listing import Listing
from stigma_api.executions.outcome_counts import OutcomeCounter
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.executions.repeat import repeated_request
from stigma_api.executions.start import ExecutionStarter
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import T
from stigma_api.kinds import CancelRequest, D, E, ExecutionKind, StartRequest
from stigma_api.requests import validation
from stigma_api.temporal.calls import request_cancel


class ExecutionService(Generic[D, E, T]):
    """Serves the executions of one kind."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        *,
        starter: ExecutionStarter[D, E],
        reader: Reader[E],
        listing: Listing[E],
        watching: Watching[E, T],
        add_pending_steps: Callable[[ExecutionDescription[E], E], Awaitable[None]],
        stop_after_step: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        """Serve executions.

        Args:
            client: Temporal's.
            kind: of the executions.
            starter: starts them.
            reader: reads them.
            listing: lists them.
            watching: follows them.
            add_pending_steps: adds to one what it waits for.
            stop_after_step: has one stop once its calls under way have ended, by id and reason.
        """
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._starter: ExecutionStarter[D, E] = starter
        self._reader: Reader[E] = reader
        self._listing: Listing[E] = listing
        self._watching: Watching[E, T] = watching
        self._add_pending_steps: Callable[[ExecutionDescription[E], E], Awaitable[None]] = (
            add_pending_steps
        )
        self._stop_after_step = stop_after_step

    async def start(self, principal: Principal, request: StartRequest) -> E:
        """Start an execution, or return the one that the same request has started before."""
        principal.require(Action.EXECUTIONS_START)
        if request.HasField("spec"):
            principal.require(Action(f"{self._kind.kind}s.inline"))
        return await self._starter.start(principal, request)

    async def repeat(
        self,
        principal: Principal,
        execution_id: str,
        *,
        request_id: str,
        newest_version: bool = False,
        message: str | None = None,
    ) -> E:
        """Start once more what an execution was started with, as the principal's own.

        Args:
            principal: who starts it.
            execution_id: of the execution, which the principal may see.
            request_id: repeated, it starts nothing more.
            newest_version: of the definition, instead of the version that ran.
            message: for an agent, instead of the recorded one.

        Raises:
            ApiError: as `start`; NOT_FOUND.
        """
        principal.require(Action.EXECUTIONS_START)
        principal.require(Action.EXECUTIONS_READ)
        found = await self._reader.get_visible(principal, execution_id)
        recorded = await self._reader.request(found)
        if recorded is None:
            raise errors.not_found(f"the request of {execution_id}")
        request = repeated_request(
            recorded.spec, request_id=request_id, newest_version=newest_version, message=message
        )
        return await self.start(principal, request)

    async def outcomes(
        self, principal: Principal, filter_text: str, edges: Sequence[datetime]
    ) -> list[Mapping[str, int]]:
        """Return the number of executions by outcome between each two edges, by start."""
        principal.require(Action.EXECUTIONS_READ)
        query = self._listing.query(principal, filter_text)
        return await OutcomeCounter(self._client).count(query, edges)

    async def get(
        self,
        principal: Principal,
        execution_id: str,
        *,
        full: bool = False,
        pending_steps: bool = False,
    ) -> E:
        """Return one execution.

        Args:
            principal: who asks.
            execution_id: which.
            full: with what may be long.
            pending_steps: with what it waits for, if it is open.

        Raises:
            ApiError: NOT_FOUND; PERMISSION_DENIED; UNAVAILABLE, Temporal does not answer.
        """
        principal.require(Action.EXECUTIONS_READ)
        found = await self._reader.get_visible(principal, execution_id)
        execution = await self._reader.read(found, full=full)
        if pending_steps:
            await self._add_pending_steps(found, execution)
        return execution

    async def page(
        self, principal: Principal, filter_text: str, *, size: int, token: str
    ) -> tuple[list[E], str]:
        """Return a page of executions, and the next page's token."""
        principal.require(Action.EXECUTIONS_READ)
        return await self._listing.page(principal, filter_text, size=size, token=token)

    async def watch(
        self, principal: Principal, execution_id: str, cursor: str
    ) -> AsyncGenerator[T, None]:
        """Stream what happens to one execution, and what its model writes if that was asked for."""
        principal.require(Action.EXECUTIONS_READ)
        found = await self._reader.get_visible(principal, execution_id)
        watched = self._watching.events(found, cursor)
        async with aclosing(watched) as events:
            async for event in events:
                yield event

    async def cancel(self, principal: Principal, request: CancelRequest) -> E:
        """Ask an execution to stop."""
        principal.require(Action.EXECUTIONS_CANCEL)
        validation.check_cancel(request)
        namespace = request.namespace or self._client.namespace
        execution_id = request.id or ids.execution_id(
            principal.name, namespace, request.request_id, self._kind.kind
        )
        found = await self._reader.get_visible(principal, execution_id)
        if found.is_open and await self._stop(execution_id, request):
            return found.execution
        found = await self._reader.get_visible(principal, execution_id)
        return await self._reader.with_outcome(found)

    async def _stop(self, execution_id: str, request: CancelRequest) -> bool:
        """Ask an open execution to stop; return False when it has ended meanwhile."""
        if (
            self._stop_after_step is not None
            and isinstance(request, CancelAgentExecutionRequest)
            and request.mode == CANCEL_MODE_AFTER_STEP
        ):
            await self._stop_after_step(execution_id, request.reason)
            return True
        return await request_cancel(self._client, execution_id, request.reason)
