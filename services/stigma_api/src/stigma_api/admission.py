"""What a start request passes before anything starts: permissions, rules, agent, deadline."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts import configuration, ids, limits, tokens
from stigma.internal.v1.execution_pb2 import Bind
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_api import status, validation
from stigma_api.callbacks import Callbacks, deadline_of
from stigma_api.launch import INLINE_AGENT, Start
from stigma_api.principals import Action, Principal
from stigma_api.registry import Registry
from stigma_api.status import CallError


@dataclass(frozen=True)
class Admitted:
    """A request that its principal may make, and the execution it stands for."""

    principal: Principal
    request: StartAgentRequest
    request_id: str
    execution_id: str
    digest: bytes
    bind: Bind | None
    agent: tuple[str, int | None] | None
    """Name and version of a registered agent; None for an inline one."""


class Admission:
    """Admits start requests into one namespace."""

    def __init__(self, registry: Registry, callbacks: Callbacks, namespace: str) -> None:
        self._registry = registry
        self._callbacks = callbacks
        self._namespace = namespace
        self._log = structlog.get_logger()

    def admit(self, principal: Principal, request: StartAgentRequest) -> Admitted:
        """Check everything that needs nobody else, and name the execution.

        What the principal may do at all comes before its token: who may not use the agent has
        nothing done with a token, and learns nothing about one.

        Raises:
            CallError: PERMISSION_DENIED, INVALID_ARGUMENT or FAILED_PRECONDITION.
        """
        principal.require(Action.EXECUTIONS_START)
        if request.HasField("spec"):
            principal.require(Action.AGENTS_INLINE)
        validation.start(request)
        agent = None
        if not request.HasField("spec"):
            agent = validation.agent_id("agent_id", request.agent_id)
            principal.require_agent(agent[0])
        self._log_received(principal, request)
        try:
            token = self._callbacks.admit(principal, request)
        except CallError as error:
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
            execution_id=ids.execution_id(principal.name, namespace, request_id),
            digest=digest,
            bind=_bind(request, token, digest) if token else None,
            agent=agent,
        )

    async def prepare(self, admitted: Admitted) -> Start:
        """Resolve the agent and the deadline.

        Raises:
            CallError: NOT_FOUND, no such agent; INVALID_ARGUMENT, the request loosens it;
                FAILED_PRECONDITION, the caller's deadline.
        """
        request = admitted.request
        agent_id, agent = await self._resolve(admitted)
        validation.tightens(agent, request.config, request.env)
        now = datetime.now(UTC)
        callback_deadline = deadline_of(request) if admitted.bind else None
        if callback_deadline is not None:
            await self._callbacks.admit_deadline(callback_deadline, now)
        spec = AgentExecutionSpec(
            agent_id=agent_id,
            agent=agent,
            message=request.message,
            input_json=request.input_json,
            env=request.env,
            session_id=request.session_id,
            labels=request.labels,
            request_id=admitted.request_id,
            callback_payload=request.callback_payload,
            principal=admitted.principal.name,
        )
        if request.HasField("config"):
            spec.config.CopyFrom(request.config)
        if admitted.bind is not None:
            spec.caller.CopyFrom(admitted.bind.caller)
        elif request.HasField("caller"):
            spec.caller.CopyFrom(request.caller)
        if callback_deadline is not None:
            spec.callback_deadline.CopyFrom(request.callback_deadline)
        return Start(
            execution_id=admitted.execution_id,
            spec=spec,
            digest=admitted.digest,
            deadline=effective_deadline(spec, now, callback_deadline),
            bind=admitted.bind,
        )

    async def _resolve(self, admitted: Admitted) -> tuple[str, AgentSpec]:
        if admitted.agent is None:
            return "", admitted.request.spec
        agent = await self._registry.get(*admitted.agent)
        if agent is None:
            raise status.not_found(f"agent {admitted.request.agent_id}")
        return f"{agent.name}@{agent.version}", agent.spec

    def _log_received(self, principal: Principal, request: StartAgentRequest) -> None:
        self._log.info(
            "request_received",
            request_id=request.request_id,
            principal=principal.name,
            agent=request.agent_id or INLINE_AGENT,
            workflow_id=request.caller.workflow_id,
            run_id=request.caller.run_id,
            activity_id=request.caller.activity_id,
            callback_fingerprint=tokens.fingerprint(request.callback_token),
            token_length=len(request.callback_token),
        )


def spec_digest(request: StartAgentRequest) -> bytes:
    """Return the SHA-256 of what was asked for: equal for every attempt of the same request.

    The agent counts as it was named, not as resolved: a replay must still match when a newer
    version was applied in between.
    """
    asked = StartAgentRequest()
    asked.CopyFrom(request)
    for of_the_attempt in ("callback_token", "request_id", "caller", "callback_deadline"):
        asked.ClearField(of_the_attempt)
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).digest()


def effective_deadline(
    spec: AgentExecutionSpec, now: datetime, callback_deadline: datetime | None
) -> datetime:
    """Return when the execution is timed out: the earliest of every limit given.

    The outcome must reach the caller before the caller's own timeout, so that one counts early.
    """
    deadlines = []
    timeout = configuration.configure(spec.agent, spec.config).timeout
    if timeout is not None:
        deadlines.append(now + timeout)
    if callback_deadline is not None:
        margin = min(limits.CALLBACK_MARGIN, (callback_deadline - now) / 2)
        deadlines.append(callback_deadline - margin)
    return min(deadlines, default=now + limits.DEFAULT_TIMEOUT)


def _bind(request: StartAgentRequest, token: TaskToken, digest: bytes) -> Bind:
    bind = Bind(token=request.callback_token, spec_digest=digest, caller=request.caller)
    # Who declares only an activity id, unique in its run, can then be reached by it all the same.
    bind.caller.workflow_id, bind.caller.run_id = token.workflow_id, token.run_id
    if request.HasField("callback_deadline"):
        bind.deadline.CopyFrom(request.callback_deadline)
    return bind
