"""What a start request passes before anything starts: permissions, rules, definition, deadline."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic

import structlog

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.contracts import configuration, ids, limits, tokens
from stigma.internal.v1.execution_pb2 import Bind
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.definitions.registry import Registry
from stigma_api.errors import ApiError
from stigma_api.executions.callback_tokens import CallbackTokenPolicy, deadline_of
from stigma_api.executions.launcher import Start
from stigma_api.kinds import (
    INLINE,
    D,
    DefinitionSpec,
    E,
    ExecutionKind,
    ExecutionSpec,
    StartRequest,
)
from stigma_api.requests import validation

# What a start request says of its execution: fields of both, by name.
_TAKEN_OVER = (
    "message",
    "input_json",
    "env",
    "config",
    "session_id",
    "labels",
    "caller",
    "callback_payload",
)


@dataclass(frozen=True)
class Admitted:
    """A request that its principal may make, and the execution it stands for."""

    principal: Principal
    request: StartRequest
    request_id: str
    execution_id: str
    digest: bytes
    bind: Bind | None
    definition: tuple[str, int | None] | None
    """Name and version of a registered agent or workflow; None for an inline one."""


class Admission(Generic[D, E]):
    """Admits start requests of one kind into one namespace."""

    def __init__(
        self,
        kind: ExecutionKind[E],
        registry: Registry[D],
        callbacks: CallbackTokenPolicy,
        namespace: str,
    ) -> None:
        self._kind: ExecutionKind[E] = kind
        self._registry: Registry[D] = registry
        self._callbacks = callbacks
        self._namespace = namespace
        self._log = structlog.get_logger()

    def admit(self, principal: Principal, request: StartRequest) -> Admitted:
        """Check everything that needs nobody else, and name the execution.

        What the principal may do at all comes before its token: who may not use the agent has
        nothing done with a token, and learns nothing about one.

        Raises:
            ApiError: PERMISSION_DENIED, INVALID_ARGUMENT or FAILED_PRECONDITION.
        """
        kind = self._kind.kind
        principal.require(Action.EXECUTIONS_START)
        if request.HasField("spec"):
            principal.require(Action(f"{kind}s.inline"))
        validation.start(request)
        definition = None
        if not request.HasField("spec"):
            named = self._kind.definition_id(request)
            definition = validation.name_and_version(f"{kind}_id", named)
            principal.require_use(kind, definition[0])
        self._log_received(principal, request)
        try:
            token = self._callbacks.admit(principal, request)
        except ApiError as error:
            self._callbacks.rejected(request, request.request_id, error.code.name.lower())
            raise
        request_id = request.request_id
        if not request_id:
            request_id = tokens.request_id(token) if token else str(uuid.uuid4())
        namespace = request.caller.namespace or self._namespace
        digest = spec_digest(request)
        return Admitted(
            principal=principal,
            request=request,
            request_id=request_id,
            execution_id=ids.execution_id(principal.name, namespace, request_id, kind),
            digest=digest,
            bind=_bind(request, token, digest) if token else None,
            definition=definition,
        )

    async def prepare(self, admitted: Admitted) -> Start:
        """Resolve the definition and the deadline.

        Raises:
            ApiError: NOT_FOUND, no such agent or workflow; INVALID_ARGUMENT, the request loosens
                it; FAILED_PRECONDITION, the caller's deadline.
        """
        request = admitted.request
        spec = self._asked(admitted, *await self._resolve(admitted))
        validation.tightens(spec)
        now = datetime.now(UTC)
        callback_deadline = deadline_of(request) if admitted.bind else None
        if callback_deadline is not None:
            await self._callbacks.admit_deadline(callback_deadline, now)
            spec.callback_deadline.CopyFrom(request.callback_deadline)
        return Start(
            execution_id=admitted.execution_id,
            spec=spec,
            digest=admitted.digest,
            deadline=effective_deadline(spec, now, callback_deadline),
            bind=admitted.bind,
        )

    async def _resolve(self, admitted: Admitted) -> tuple[str, DefinitionSpec]:
        """Return the definition and its id, "" for an inline one."""
        if admitted.definition is None:
            return "", admitted.request.spec
        found = await self._registry.get(*admitted.definition)
        if found is None:
            named = self._kind.definition_id(admitted.request)
            raise errors.not_found(f"{self._kind.kind} {named}")
        return f"{found.name}@{found.version}", found.spec

    def _asked(
        self, admitted: Admitted, definition_id: str, definition: DefinitionSpec
    ) -> ExecutionSpec:
        kind = self._kind.kind
        asked = {field.name: value for field, value in admitted.request.ListFields()}
        taken: dict[str, Any] = {name: asked[name] for name in _TAKEN_OVER if name in asked}
        taken |= {f"{kind}_id": definition_id, str(kind): definition}
        spec: ExecutionSpec = self._kind.spec(
            **taken, request_id=admitted.request_id, principal=admitted.principal.name
        )
        if admitted.bind is not None:
            spec.caller.CopyFrom(admitted.bind.caller)
        return spec

    def _log_received(self, principal: Principal, request: StartRequest) -> None:
        self._log.info(
            "request_received",
            request_id=request.request_id,
            principal=principal.name,
            workflow_id=request.caller.workflow_id,
            run_id=request.caller.run_id,
            activity_id=request.caller.activity_id,
            callback_fingerprint=tokens.fingerprint(request.callback_token),
            token_length=len(request.callback_token),
            **{str(self._kind.kind): self._kind.definition_id(request) or INLINE},
        )


def spec_digest(request: StartRequest) -> bytes:
    """Return the SHA-256 of what was asked for: equal for every attempt of the same request.

    The definition counts as it was named, not as resolved: a replay must still match when a newer
    version was applied in between.
    """
    asked = type(request).FromString(request.SerializeToString())
    for of_the_attempt in ("callback_token", "request_id", "caller", "callback_deadline"):
        asked.ClearField(of_the_attempt)
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).digest()


def effective_deadline(
    spec: ExecutionSpec, now: datetime, callback_deadline: datetime | None
) -> datetime:
    """Return when the execution is timed out: the earliest of every limit given.

    The outcome must reach the caller before the caller's own timeout, so that one counts early.
    """
    deadlines = []
    timeout = _timeout(spec)
    if timeout is not None:
        deadlines.append(now + timeout)
    if callback_deadline is not None:
        margin = min(limits.CALLBACK_MARGIN, (callback_deadline - now) / 2)
        deadlines.append(callback_deadline - margin)
    return min(deadlines, default=now + limits.DEFAULT_TIMEOUT)


def _timeout(spec: ExecutionSpec) -> timedelta | None:
    if isinstance(spec, AgentExecutionSpec):
        return configuration.configure(spec.agent, spec.config).timeout
    given = (spec.workflow.limits.timeout.ToTimedelta(), spec.config.timeout.ToTimedelta())
    return min((timeout for timeout in given if timeout), default=None)


def _bind(request: StartRequest, token: TaskToken, digest: bytes) -> Bind:
    bind = Bind(token=request.callback_token, spec_digest=digest, caller=request.caller)
    # Who declares only an activity id, unique in its run, can then be reached by it all the same.
    bind.caller.workflow_id, bind.caller.run_id = token.workflow_id, token.run_id
    if request.HasField("callback_deadline"):
        bind.deadline.CopyFrom(request.callback_deadline)
    return bind
