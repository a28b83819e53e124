"""The last step of a start: start the workflow, or attach to the one that is there already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic

import structlog
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from stigma.contracts import limits, search_attributes
from stigma.contracts.executions import Execution
from stigma.contracts.workflows import BIND
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api import errors
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.executions.same_request import differs_in_json_text_only
from stigma_api.executions.start_command import StartCommand
from stigma_api.kinds import INLINE, E, ExecutionKind
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.clock import TemporalClock


class Launcher(Generic[E]):
    """Starts executions of one kind on one task queue."""

    def __init__(
        self,
        client: Client,
        kind: ExecutionKind[E],
        reader: Reader[E],
        task_queue: str,
        clock: TemporalClock,
    ) -> None:
        self._client = client
        self._clock = clock
        self._kind: ExecutionKind[E] = kind
        self._reader: Reader[E] = reader
        self._task_queue = task_queue
        self._log = structlog.get_logger()

    async def launch(self, command: StartCommand[E]) -> E:
        """Start the execution, or attach to it when it is there already.

        With somebody who waits, one signal-with-start: whether the workflow is new or not, the
        token is in its history once this returns.

        Raises:
            ApiError: ALREADY_EXISTS; the same request id was used with another request, or by
                another workflow.
        """
        sent = datetime.now(UTC)
        try:
            handle = await self._start(command)
        except WorkflowAlreadyStartedError:
            handle = None
        if handle is None or not _is_new(handle):
            # Bound already, if it is open: the workflow itself ignores a bind of another request.
            found = await self._find_same_request(command, command.bind)
            if command.bind is not None and found.is_open and found.digest != command.digest.hex():
                await self._bind(command.execution_id, command.bind, found.digest)
            return await self._reader.with_outcome(found)
        self._clock.note_start(command.execution_id, sent, datetime.now(UTC))
        self._log.info(
            "workflow_started",
            execution_id=command.execution_id,
            request_id=command.request_id,
            workflow_id=command.execution_id,
            run_id=handle.result_run_id,
            callback_fingerprint=command.initial.status.callback.fingerprint,
            **{str(self._kind.kind): self._kind.definition_id(command.spec) or INLINE},
        )
        return command.reply

    async def attach(self, command: StartCommand[E], bind: Bind | None) -> E:
        """Return the execution that the same request has started before.

        Args:
            command: authorised; it need not be resolved.
            bind: bound first, if the execution is still open.

        Raises:
            ApiError: NOT_FOUND; or ALREADY_EXISTS, it was another request or caller.
        """
        found = await self._find_same_request(command, bind)
        if bind is not None and found.is_open:
            await self._bind(command.execution_id, bind, found.digest)
        return await self._reader.with_outcome(found)

    async def _find_same_request(
        self, command: StartCommand[E], bind: Bind | None
    ) -> ExecutionDescription[E]:
        """Return the execution that the same request of the same workflow has started."""
        found = await self._reader.get(command.execution_id)
        name = f"{self._kind.kind} execution {command.execution_id}"
        if found.digest != command.digest.hex() and not await self._is_same(command, found):
            raise errors.already_exists(f"the request id was used for another request: {name}")
        first = found.execution.spec.caller.workflow_id
        if bind is not None and first and bind.caller.workflow_id != first:
            # The workflow ignores its token: it would never be completed.
            raise errors.already_exists(f"the request id was used by another workflow: {name}")
        return found

    async def _is_same(self, command: StartCommand[E], found: ExecutionDescription[E]) -> bool:
        recorded = await self._reader.request(found)
        return recorded is not None and differs_in_json_text_only(
            command.request, recorded.spec, found.digest
        )

    async def _start(self, command: StartCommand[E]) -> WorkflowHandle[Any, Any]:
        signal: dict[str, Any] = {}
        if command.bind_payload is not None:
            signal = {"start_signal": BIND, "start_signal_args": [command.bind_payload]}
        async with temporal_call():
            return await self._client.start_workflow(
                self._kind.workflow.run,
                args=[command.input],
                id=command.execution_id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                memo=command.memo,
                search_attributes=self._search_attributes(command),
                **signal,
            )

    async def _bind(self, execution_id: str, bind: Bind, digest: str) -> None:
        """Bind an attempt; the execution ignores those of another digest than its own."""
        bound = Bind()
        bound.CopyFrom(bind)
        bound.spec_digest = bytes.fromhex(digest)
        handle = self._client.get_workflow_handle(execution_id)
        try:
            async with temporal_call():
                await handle.signal(self._kind.workflow.bind, bound)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            # It closed just now; the caller learns the outcome with its next attempt.
            raise errors.unavailable("the execution is just closing: try again") from None

    def _search_attributes(self, command: StartCommand[E]) -> TypedSearchAttributes:
        spec, initial = command.spec, command.initial
        name = self._kind.definition_id(spec).partition("@")[0] or INLINE
        pairs: list[SearchAttributePair[Any]] = [
            SearchAttributePair(self._kind.name_attribute, name),
            SearchAttributePair(search_attributes.PRINCIPAL, spec.principal),
            SearchAttributePair(search_attributes.START_TIME, _start_time(initial)),
            SearchAttributePair(search_attributes.WARN_TIME, _warn_time(initial)),
        ]
        if command.bind is not None:
            waiting = search_attributes.CALLBACK_WAITING
            pairs.append(SearchAttributePair(search_attributes.CALLBACK, waiting))
        if spec.session_id:
            pairs.append(SearchAttributePair(search_attributes.SESSION, spec.session_id))
        if spec.labels:
            labels = [f"{key}={value}" for key, value in sorted(spec.labels.items())]
            pairs.append(SearchAttributePair(search_attributes.LABELS, labels))
        return TypedSearchAttributes(pairs)


def _is_new(handle: WorkflowHandle[Any, Any]) -> bool:
    # The SDK shows whether it started the workflow nowhere else. Were this gone one day, a start
    # would cost a describe more, and still be right.
    reply = getattr(handle, "_start_workflow_response", None)
    return bool(getattr(reply, "started", False))


def _start_time(initial: Execution) -> datetime:
    return initial.status.start_time.ToDatetime(UTC)


def _warn_time(initial: Execution) -> datetime:
    start = _start_time(initial)
    return start + limits.WARN_AFTER * (initial.status.deadline.ToDatetime(UTC) - start)
