"""The first two steps of a start, which need nothing but the request: validate and authorise."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC
from typing import Any

import structlog

from stigma.contracts import ids, tokens
from stigma.internal.v1.execution_pb2 import Bind
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma_api.errors import ApiError
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.executions.start_command import StartCommand
from stigma_api.kinds import INLINE, StartRequest
from stigma_api.requests import validation


def validate(command: StartCommand[Any]) -> None:
    """Check the request by itself, and read which definition it names.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    request, kind = command.request, command.kind
    validation.check_start(request)
    command.definition = None
    if not request.HasField("spec"):
        named = kind.definition_id(request)
        command.definition = validation.name_and_version(f"{kind.kind}_id", named)


class Admission:
    """Authorises start requests into one namespace.

    Args:
        tokens: judges their callback tokens.
        namespace: of executions; also that of a caller who names none.
    """

    def __init__(self, tokens: CallbackTokenPolicy, namespace: str) -> None:
        self._tokens = tokens
        self._namespace = namespace
        self._log = structlog.get_logger()

    def authorise(self, command: StartCommand[Any]) -> None:
        """Check what the principal may use and call back, and name the execution.

        The definition comes before the token: who may not use the agent has nothing done with a
        token, and learns nothing about one.

        Raises:
            ApiError: PERMISSION_DENIED, INVALID_ARGUMENT or FAILED_PRECONDITION.
        """
        principal, request, kind = command.principal, command.request, command.kind.kind
        if command.definition is not None:
            principal.require_use(kind, command.definition[0])
        self._log_received(command)
        try:
            token = self._tokens.check(principal, request)
        except ApiError as error:
            self._tokens.record_rejection(request, request.request_id, error.code.name.lower())
            raise
        request_id = request.request_id
        if not request_id:
            request_id = tokens.request_id(token) if token else str(uuid.uuid4())
        namespace = request.caller.namespace or self._namespace
        command.request_id = request_id
        command.execution_id = ids.execution_id(principal.name, namespace, request_id, kind)
        command.digest = spec_digest(request)
        command.bind = _bind(request, token, command.digest) if token else None
        command.callback_deadline = None
        if token and request.HasField("callback_deadline"):
            command.callback_deadline = request.callback_deadline.ToDatetime(UTC)

    def _log_received(self, command: StartCommand[Any]) -> None:
        request, kind = command.request, command.kind
        self._log.info(
            "request_received",
            request_id=request.request_id,
            principal=command.principal.name,
            workflow_id=request.caller.workflow_id,
            run_id=request.caller.run_id,
            activity_id=request.caller.activity_id,
            callback_fingerprint=tokens.fingerprint(request.callback_token),
            token_length=len(request.callback_token),
            **{str(kind.kind): kind.definition_id(request) or INLINE},
        )


def spec_digest(request: StartRequest) -> bytes:
    """Return the SHA-256 of a request: equal for every attempt of it.

    The definition counts as it was named, not as resolved: a replay must still match when a newer
    version was applied in between.
    """
    same = type(request).FromString(request.SerializeToString())
    for of_the_attempt in ("callback_token", "request_id", "caller", "callback_deadline"):
        same.ClearField(of_the_attempt)
    return hashlib.sha256(same.SerializeToString(deterministic=True)).digest()


def _bind(request: StartRequest, token: TaskToken, digest: bytes) -> Bind:
    bind = Bind(token=request.callback_token, spec_digest=digest, caller=request.caller)
    # Who declares only an activity id, unique in its run, can then be reached by it all the same.
    bind.caller.workflow_id, bind.caller.run_id = token.workflow_id, token.run_id
    bind.caller.ClearField("callback_timeout")
    if request.HasField("callback_deadline"):
        bind.deadline.CopyFrom(request.callback_deadline)
    return bind
