"""Starting an execution: validate → authorise → probe ∥ resolve → (ask for a turn →) launch."""

from __future__ import annotations

import asyncio
from typing import Generic, cast

import grpc
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.errors import ApiError
from stigma_api.executions.admission import Admission, validate
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.executions.launcher import Launcher
from stigma_api.executions.reader import Reader
from stigma_api.executions.session_turns import SessionTurns
from stigma_api.executions.start_command import StartCommand
from stigma_api.executions.start_resolver import StartResolver
from stigma_api.executions.token_probe import Liveness, TokenProbe
from stigma_api.kinds import D, E, ExecutionKind, StartRequest
from stigma_api.temporal.calls import request_cancel

# Refusals that are about a new start: a replay of an old one is answered all the same.
_ABOUT_STARTING = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
}
_CANCELLED_BY_CALLER = "cancelled by its caller"


class ExecutionStarter(Generic[D, E]):
    """Starts executions of one kind."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        *,
        admission: Admission,
        tokens: CallbackTokenPolicy,
        probe: TokenProbe,
        resolver: StartResolver[D, E],
        launcher: Launcher[E],
        reader: Reader[E],
        turns: SessionTurns | None = None,
    ) -> None:
        """Start executions.

        Args:
            client: Temporal's.
            kind: of the executions.
            admission: validates and authorises.
            tokens: records the callback tokens that are refused.
            probe: finds out whether callers wait.
            resolver: finds definitions and deadlines.
            launcher: starts the workflows.
            reader: reads executions.
            turns: asks sessions for the turns of executions; None: sessions are labels.
        """
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._admission = admission
        self._tokens = tokens
        self._probe = probe
        self._resolver: StartResolver[D, E] = resolver
        self._launcher: Launcher[E] = launcher
        self._reader: Reader[E] = reader
        self._turns = turns

    async def start(self, principal: Principal, request: StartRequest) -> E:
        """Start an execution, or return the one that the same request has started before."""
        command = StartCommand(self._kind, principal, request)
        validate(command)
        self._admission.authorise(command)
        # Two round trips side by side; what the probe says of the token counts first.
        is_waiting, resolved = await asyncio.gather(
            self._caller_is_waiting(command),
            self._resolver.resolve(command),
            return_exceptions=True,
        )
        if isinstance(is_waiting, BaseException):
            raise is_waiting
        if not is_waiting:
            resolved = errors.failed_precondition(
                "CALLER_GONE", "the activity of the callback token does not wait any more"
            )
        if isinstance(resolved, ApiError):
            return await self._attach(command, resolved, is_waiting=is_waiting)
        if isinstance(resolved, BaseException):
            raise resolved
        if self._turns is None or not command.takes_turn:
            return await self._launcher.launch(command)
        return await self._launch_in_session(command, self._turns)

    async def _launch_in_session(self, command: StartCommand[E], turns: SessionTurns) -> E:
        """Ask the session for a turn, and start the execution, which waits for it."""
        if await self._reader.find(command.execution_id) is not None:
            return await self._launcher.attach(command, command.bind)
        try:
            await turns.request(command.execution_id, cast("AgentExecutionSpec", command.spec))
        except ApiError as refusal:
            if command.bind is not None:
                self._record_rejection(command, refusal.code.name.lower())
            raise
        return await self._launcher.launch(command)

    async def _caller_is_waiting(self, command: StartCommand[E]) -> bool:
        """Return whether the caller still waits; True without a token.

        Raises:
            ApiError: the token is not valid here, or the caller's cancel was requested.
        """
        if command.bind is None:
            return True
        namespace = command.request.caller.namespace
        liveness = await self._probe.check(command.bind.token, namespace, command.execution_id)
        if liveness is Liveness.INVALID:
            self._record_rejection(command, "invalid_argument")
            raise errors.invalid_argument(
                [("callback_token", "Temporal does not know it in the caller's namespace")]
            )
        if liveness is Liveness.CANCEL_REQUESTED:
            self._record_rejection(command, "cancel_requested")
            await self._cancel_started(command)
            raise errors.failed_precondition(
                "CALLER_CANCELLED", "the activity of the callback token was asked to stop"
            )
        return liveness is Liveness.WAITING

    async def _attach(self, command: StartCommand[E], refusal: ApiError, *, is_waiting: bool) -> E:
        """Return the execution that the request started before; else raise its refusal."""
        if refusal.code not in _ABOUT_STARTING:
            raise refusal
        try:
            return await self._launcher.attach(command, command.bind if is_waiting else None)
        except ApiError as error:
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
            if command.bind is not None:
                self._record_rejection(command, refusal.code.name.lower())
            raise refusal from None

    async def _cancel_started(self, command: StartCommand[E]) -> None:
        found = await self._reader.find(command.execution_id)
        if found is not None and found.is_open and found.digest == command.digest.hex():
            await request_cancel(self._client, command.execution_id, _CANCELLED_BY_CALLER)

    def _record_rejection(self, command: StartCommand[E], error_type: str) -> None:
        self._tokens.record_rejection(command.request, command.request_id, error_type)
