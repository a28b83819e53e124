"""Audit of the RPCs: which are events of the audit log, and what each was about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio

from stigma.agent.v1.agent_session_service_pb2 import AGENT_SESSION_VIEW_FULL
from stigma.runtime.metrics import status_code
from stigma_api.access.audit import AuditLog, Effect, path
from stigma_api.grpc_api.interceptor import Context, authenticated_caller, with_behaviour

# Requests and responses are of every service: what a rule reads is in those of its RPC.
_Message = Any


def _always(_request: _Message) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """Rule by which an RPC is audited."""

    effect: Effect
    resource: Callable[[_Message, _Message], str]
    """Of a request and its response, which is None for a refusal and for a stream."""
    applies: Callable[[_Message], bool] = _always
    """Whether a request has that effect."""
    starts: bool = False
    """Whether the response is an execution that was started."""


def _apply(kind: str) -> Rule:
    def resource(request: _Message, response: _Message) -> str:
        version = f"@{response.version}" if response is not None else ""
        return path(f"{kind}s", f"{getattr(request, kind).name}{version}")

    return Rule(Effect.MUTATION, resource, applies=lambda request: not request.validate_only)


def _delete(kind: str) -> Rule:
    return Rule(Effect.MUTATION, lambda request, _: path(f"{kind}s", request.name))


def _start(kind: str) -> Rule:
    def resource(request: _Message, response: _Message) -> str:
        source = request if response is None else response.spec
        return path(f"{kind}s", getattr(source, f"{kind}_id") or "inline")

    return Rule(Effect.MUTATION, resource, starts=True)


def _session(request: _Message, _response: _Message) -> str:
    of = ("principals", request.principal) if request.principal else ()
    return path(*of, "sessions", request.id)


def _execution(request: _Message, response: _Message) -> str:
    """Return the name of an execution that may have been named by its request id."""
    return path("executions", request.id or getattr(response, "id", ""))


_READ_EXECUTION = Rule(Effect.READ, _execution)
_CANCEL = Rule(Effect.MUTATION, _execution)

RULES: Mapping[str, Mapping[str, Rule | None]] = {
    "stigma.agent.v1.AgentService": {
        "ApplyAgent": _apply("agent"),
        "GetAgent": None,
        "ListAgents": None,
        "DeleteAgent": _delete("agent"),
    },
    "stigma.agent.v1.AgentExecutionService": {
        "StartAgent": _start("agent"),
        # Outputs are in every view.
        "GetAgentExecution": _READ_EXECUTION,
        "ListAgentExecutions": None,
        "WatchAgentExecution": _READ_EXECUTION,
        "CancelAgentExecution": _CANCEL,
        "SubmitAgentInput": Rule(
            Effect.MUTATION,
            lambda request, _: path("executions", request.id, "inputs", request.input_id),
        ),
        "SendAgentMessage": Rule(Effect.MUTATION, _execution),
        "ListPendingInputs": Rule(
            Effect.READ,
            lambda request, _: path("executions", request.id, "inputs", request.input_id),
        ),
    },
    "stigma.agent.v1.AgentSessionService": {
        "GetAgentSession": Rule(
            Effect.READ, _session, applies=lambda request: request.view == AGENT_SESSION_VIEW_FULL
        ),
        "ListAgentSessions": None,
        "DeleteAgentSession": Rule(Effect.MUTATION, _session),
    },
    "stigma.workflow.v1.WorkflowService": {
        "ApplyWorkflow": _apply("workflow"),
        "GetWorkflow": None,
        "ListWorkflows": None,
        "DeleteWorkflow": _delete("workflow"),
    },
    "stigma.workflow.v1.WorkflowExecutionService": {
        "StartWorkflow": _start("workflow"),
        "GetWorkflowExecution": _READ_EXECUTION,
        "ListWorkflowExecutions": None,
        "WatchWorkflowExecution": _READ_EXECUTION,
        "CancelWorkflowExecution": _CANCEL,
    },
    "stigma.diagnosis.v1.DiagnosisService": {
        "GetExecutionTimeline": None,
        "ListStuckExecutions": None,
    },
}
"""Every RPC by service and name; None for those that change nothing and show no content."""


class AuditInterceptor(grpc.aio.ServerInterceptor):
    """Writes the events; outside the interceptor that authenticates, whose refusals they tell."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one RPC, if it is audited."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        service, _, name = method.removeprefix("/").partition("/")
        rule = RULES.get(service, {}).get(name)
        if handler is None or rule is None:
            return handler
        return with_behaviour(
            handler, partial(self._unary, method, rule), partial(self._streaming, method, rule)
        )

    def _unary(self, method: str, rule: Rule, behaviour: Any) -> Any:
        async def call(request: _Message, context: Context) -> object:
            try:
                response = await behaviour(request, context)
            except BaseException as error:
                self._write(method, rule, request, None, status_code(context, error))
                raise
            self._write(method, rule, request, response, grpc.StatusCode.OK)
            return response

        return call

    def _streaming(self, method: str, rule: Rule, behaviour: Any) -> Any:
        """Write at the first reply: a stream may last for an hour."""

        async def call(request: _Message, context: Context) -> AsyncIterator[object]:
            has_begun = False
            try:
                async for reply in behaviour(request, context):
                    if not has_begun:
                        has_begun = True
                        self._write(method, rule, request, None, grpc.StatusCode.OK)
                    yield reply
            except BaseException as error:
                if not has_begun:
                    self._write(method, rule, request, None, status_code(context, error))
                raise
            if not has_begun:
                self._write(method, rule, request, None, grpc.StatusCode.OK)

        return call

    def _write(
        self,
        method: str,
        rule: Rule,
        request: _Message,
        response: _Message,
        code: grpc.StatusCode,
    ) -> None:
        principal = authenticated_caller()
        if principal is None or not rule.applies(request):
            return
        is_started = rule.starts and response is not None
        self._log.write(
            principal,
            rule.effect,
            method,
            rule.resource(request, response),
            code.name,
            request_id=response.spec.request_id if is_started else _request_id(request),
            execution_id=response.id if is_started else "",
        )


def _request_id(request: _Message) -> str:
    return str(getattr(request, "request_id", ""))
