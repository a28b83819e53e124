"""Executions of one kind: starts, reads, lists, watches and cancels them for principals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic

import grpc
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import ids
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.errors import ApiError
from stigma_api.executions.admission import Admission, Admitted
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.executions.launcher import Encoded, Launcher
from stigma_api.executions.listing import Listing
from stigma_api.executions.reader import Reader
from stigma_api.executions.token_probe import Liveness, Probe
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import T
from stigma_api.kinds import CancelRequest, D, E, ExecutionKind, StartRequest
from stigma_api.requests import validation
from stigma_api.temporal.calls import answering

# Refusals that are about a new start: a replay of an old one is answered all the same.
_ABOUT_STARTING = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
}
_CANCELLED_BY_CALLER = "cancelled by its caller"


class ExecutionService(Generic[D, E, T]):
    """Serves the executions of one kind."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        *,
        admission: Admission[D, E],
        callbacks: CallbackTokenPolicy,
        probe: Probe,
        launcher: Launcher[E],
        reader: Reader[E],
        listing: Listing[E],
        watching: Watching[E, T],
    ) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._admission: Admission[D, E] = admission
        self._callbacks = callbacks
        self._probe = probe
        self._launcher: Launcher[E] = launcher
        self._reader: Reader[E] = reader
        self._listing: Listing[E] = listing
        self._watching: Watching[E, T] = watching

    async def start(self, principal: Principal, request: StartRequest) -> E:
        """Start an execution, or return the one that the same request has started before."""
        admitted = self._admission.admit(principal, request)
        # Two round trips side by side; what the probe says of the token counts first.
        waits, start = await asyncio.gather(
            self._waits(admitted), self._prepare(admitted), return_exceptions=True
        )
        if isinstance(waits, BaseException):
            raise waits
        if not waits:
            start = errors.failed_precondition(
                "CALLER_GONE", "the activity of the callback token does not wait any more"
            )
        if isinstance(start, ApiError):
            return await self._replay(admitted, start, waits=waits)
        if isinstance(start, BaseException):
            raise start
        return await self._launcher.launch(start)

    async def get(self, principal: Principal, execution_id: str, *, full: bool = False) -> E:
        """Return one execution."""
        principal.require(Action.EXECUTIONS_READ)
        found = await self._reader.get_visible(principal, execution_id)
        return await self._reader.read(found, full=full)

    async def page(
        self, principal: Principal, filter_text: str, *, size: int, token: str
    ) -> tuple[list[E], str]:
        """Return a page of executions, and the next page's token."""
        principal.require(Action.EXECUTIONS_READ)
        return await self._listing.page(principal, filter_text, size=size, token=token)

    async def watch(self, principal: Principal, execution_id: str, cursor: str) -> AsyncIterator[T]:
        """Stream what happens to one execution."""
        principal.require(Action.EXECUTIONS_READ)
        found = await self._reader.get_visible(principal, execution_id)
        async for event in self._watching.events(found, cursor):
            yield event

    async def cancel(self, principal: Principal, request: CancelRequest) -> E:
        """Ask an execution to stop."""
        principal.require(Action.EXECUTIONS_CANCEL)
        validation.cancel(request)
        namespace = request.namespace or self._client.namespace
        execution_id = request.id or ids.execution_id(
            principal.name, namespace, request.request_id, self._kind.kind
        )
        found = await self._reader.get_visible(principal, execution_id)
        if found.is_open and await self._cancel(execution_id, request.reason):
            return found.execution
        return await self._reader.with_outcome(
            await self._reader.get_visible(principal, execution_id)
        )

    async def _prepare(self, admitted: Admitted) -> Encoded[E]:
        return self._launcher.encode(await self._admission.prepare(admitted))

    async def _waits(self, admitted: Admitted) -> bool:
        """Return whether the caller still waits; True when nobody has to.

        Raises:
            ApiError: the token is not valid here, or the caller was asked to stop.
        """
        if admitted.bind is None:
            return True
        namespace = admitted.request.caller.namespace
        liveness = await self._probe.check(admitted.bind.token, namespace)
        if liveness is Liveness.INVALID:
            self._reject(admitted, "invalid_argument")
            raise errors.invalid_argument(
                [("callback_token", "Temporal does not know it in the caller's namespace")]
            )
        if liveness is Liveness.CANCEL_REQUESTED:
            self._reject(admitted, "cancel_requested")
            await self._cancel_started(admitted)
            raise errors.failed_precondition(
                "CALLER_CANCELLED", "the activity of the callback token was asked to stop"
            )
        return liveness is Liveness.WAITING

    async def _replay(self, admitted: Admitted, refusal: ApiError, *, waits: bool) -> E:
        """Answer a request that cannot start anything: it may have done so before."""
        if refusal.code not in _ABOUT_STARTING:
            raise refusal
        try:
            return await self._launcher.rejoin(
                admitted.execution_id, admitted.digest, admitted.bind if waits else None
            )
        except ApiError as error:
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
            if admitted.bind is not None:
                self._reject(admitted, refusal.code.name.lower())
            raise refusal from None

    async def _cancel_started(self, admitted: Admitted) -> None:
        found = await self._reader.find(admitted.execution_id)
        if found is not None and found.is_open and found.digest == admitted.digest.hex():
            await self._cancel(admitted.execution_id, _CANCELLED_BY_CALLER)

    async def _cancel(self, execution_id: str, reason: str) -> bool:
        """Request the cancel; return False when the execution has closed meanwhile."""
        handle = self._client.get_workflow_handle(execution_id)
        try:
            async with answering():
                await handle.cancel(reason=reason)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    def _reject(self, admitted: Admitted, error_type: str) -> None:
        self._callbacks.rejected(admitted.request, admitted.request_id, error_type)
