"""Starts an execution, or joins the one that the same request has started before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, cast

import structlog
from google.protobuf.message import Message
from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    RawValue,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_PENDING,
    CALLBACK_STATE_WAITING,
)
from stigma.contracts import limits, payloads, search_attributes, tokens
from stigma.contracts.executions import Execution
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind, WorkflowExecutionInput
from stigma_api import errors
from stigma_api.executions import outcome
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.kinds import INLINE, E, ExecutionKind, ExecutionSpec
from stigma_api.temporal.calls import answering


@dataclass(frozen=True)
class Start:
    """A start request that passed every check."""

    execution_id: str
    spec: ExecutionSpec
    digest: bytes
    deadline: datetime
    bind: Bind | None


@dataclass(frozen=True)
class Encoded(Generic[E]):
    """A start as Temporal is sent it."""

    start: Start
    request: RawValue
    accepted: E
    """What the caller is answered, without what is large or private."""
    memo: Mapping[str, RawValue | str]
    bind: RawValue | None


class Launcher(Generic[E]):
    """Starts executions of one kind on one task queue."""

    def __init__(
        self, client: Client, kind: ExecutionKind[E], reader: Reader[E], task_queue: str
    ) -> None:
        self._client = client
        self._kind: ExecutionKind[E] = kind
        self._reader: Reader[E] = reader
        self._task_queue = task_queue
        self._log = structlog.get_logger()

    def encode(self, start: Start) -> Encoded[E]:
        """Encode all of a start, once, and measure it: Temporal refuses what is too large.

        Raises:
            ApiError: INVALID_ARGUMENT; it is too large.
        """
        accepted = self._accepted(start)
        memo: dict[str, RawValue | str] = {
            outcome.MEMO_EXECUTION: payloads.to_raw(accepted),
            outcome.MEMO_DIGEST: start.digest.hex(),
        }
        bind = self._encode(start.bind) if start.bind is not None else None
        request = self._encode(self._input(start))
        if (size := request.payload.ByteSize()) > limits.MAX_PAYLOAD_BYTES:
            problem = (
                f"has {size} bytes as encoded, its {self._kind.kind} included; "
                f"the limit is {limits.MAX_PAYLOAD_BYTES}"
            )
            raise errors.invalid_argument([("request", problem)])
        return Encoded(start, request, accepted, memo, bind)

    async def launch(self, encoded: Encoded[E]) -> E:
        """Start the execution, or join it when it is there already.

        With somebody who waits, one signal-with-start: whether the workflow is new or not, the
        token is in its history once this returns.

        Raises:
            ApiError: ALREADY_EXISTS; the same request id was used with another request, or by
                another workflow.
        """
        start, accepted = encoded.start, encoded.accepted
        try:
            handle = await self._start(encoded)
        except WorkflowAlreadyStartedError:
            handle = None
        if handle is None or not _is_new(handle):
            # Bound already, if it is open: the workflow itself ignores a bind of another request.
            found = await self._same(start.execution_id, start.digest, start.bind)
            return await self._reader.with_outcome(found)
        self._log.info(
            "workflow_started",
            execution_id=start.execution_id,
            request_id=start.spec.request_id,
            workflow_id=start.execution_id,
            run_id=handle.result_run_id,
            callback_fingerprint=accepted.status.callback.fingerprint,
            **{str(self._kind.kind): self._kind.definition_id(start.spec) or INLINE},
        )
        answer = self._kind.execution(spec=self._without_large(start.spec))
        answer.MergeFrom(accepted)
        return answer

    async def rejoin(self, execution_id: str, digest: bytes, bind: Bind | None) -> E:
        """Return the execution that the same request has started before.

        Args:
            execution_id: what its request id stands for.
            digest: of this request; must be the one it was started with.
            bind: bound first, if the execution is still open.

        Raises:
            ApiError: NOT_FOUND; or ALREADY_EXISTS, it was another request or caller.
        """
        found = await self._same(execution_id, digest, bind)
        if bind is not None and found.is_open:
            await self._bind(execution_id, bind)
        return await self._reader.with_outcome(found)

    async def _same(
        self, execution_id: str, digest: bytes, bind: Bind | None
    ) -> ExecutionDescription[E]:
        """Return the execution that the same request of the same workflow has started."""
        found = await self._reader.find(execution_id)
        if found is None:
            raise errors.not_found(f"{self._kind.kind} execution {execution_id}")
        if found.digest != digest.hex():
            raise errors.already_exists(
                "the request id was used for another request: "
                f"{self._kind.kind} execution {execution_id}"
            )
        first = found.execution.spec.caller.workflow_id
        if bind is not None and first and bind.caller.workflow_id != first:
            # The workflow ignores its token: nobody would ever answer it.
            raise errors.already_exists(
                "the request id was used by another workflow: "
                f"{self._kind.kind} execution {execution_id}"
            )
        return found

    def _encode(self, message: Message) -> RawValue:
        [payload] = self._client.data_converter.payload_converter.to_payloads([message])
        return RawValue(payload)

    async def _start(self, encoded: Encoded[E]) -> WorkflowHandle[Any, Any]:
        start = encoded.start
        signal: dict[str, Any] = {}
        if encoded.bind is not None:
            signal = {"start_signal": "bind", "start_signal_args": [encoded.bind]}
        async with answering():
            return await self._client.start_workflow(
                self._kind.workflow_type,
                args=[encoded.request],
                id=start.execution_id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                memo=encoded.memo,
                search_attributes=self._search_attributes(encoded),
                **signal,
            )

    async def _bind(self, execution_id: str, bind: Bind) -> None:
        handle = self._client.get_workflow_handle(execution_id)
        try:
            async with answering():
                await handle.signal("bind", bind)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            # It closed just now; the caller learns the outcome with its next attempt.
            raise errors.unavailable("the execution is just closing: try again") from None

    def _input(self, start: Start) -> Message:
        request: AgentWorkflowInput | WorkflowExecutionInput = self._kind.input(
            execution_id=start.execution_id, spec=cast("Any", start.spec), spec_digest=start.digest
        )
        request.deadline.FromDatetime(start.deadline)
        return request

    def _accepted(self, start: Start) -> E:
        spec = self._without_large(start.spec)
        for private in self._kind.private:
            spec.ClearField(private)
        execution = self._kind.execution(id=start.execution_id, spec=spec)
        outcome.put_phase(execution, AGENT_EXECUTION_PHASE_PENDING)
        execution.status.start_time.GetCurrentTime()
        execution.status.deadline.FromDatetime(start.deadline)
        if start.bind is not None:
            execution.status.callback.state = CALLBACK_STATE_WAITING
            execution.status.callback.fingerprint = tokens.fingerprint(start.bind.token)
            execution.status.callback.bindings = 1
        return execution

    def _without_large(self, spec: ExecutionSpec) -> Any:
        shown = type(spec).FromString(spec.SerializeToString())
        definition: Message = getattr(shown, self._kind.kind)
        for large in self._kind.large:
            definition.ClearField(large)
        return shown

    def _search_attributes(self, encoded: Encoded[E]) -> TypedSearchAttributes:
        spec = encoded.start.spec
        name = self._kind.definition_id(spec).partition("@")[0] or INLINE
        pairs: list[SearchAttributePair[Any]] = [
            SearchAttributePair(self._kind.name_attribute, name),
            SearchAttributePair(search_attributes.PRINCIPAL, spec.principal),
            SearchAttributePair(search_attributes.START_TIME, _start_time(encoded.accepted)),
            SearchAttributePair(search_attributes.WARN_TIME, _warn_time(encoded.accepted)),
        ]
        if encoded.bind is not None:
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


def _start_time(accepted: Execution) -> datetime:
    return accepted.status.start_time.ToDatetime(UTC)


def _warn_time(accepted: Execution) -> datetime:
    start = _start_time(accepted)
    return start + limits.WARN_AFTER * (accepted.status.deadline.ToDatetime(UTC) - start)
