"""The ids that join spans, logs and executions: on every span of Stigma's services.

They are read from what is called with, and what is answered: requests, inputs and executions all
name them alike. A token is shown as its fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from temporalio.client import Interceptor
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from temporalio.worker import Interceptor as WorkerInterceptor

from stigma.contracts import tokens

EXECUTION_ID = "stigma.execution_id"
REQUEST_ID = "stigma.request_id"
FINGERPRINT = "stigma.callback_fingerprint"
_IDS = (EXECUTION_ID, REQUEST_ID, FINGERPRINT)
_WORKFLOW_ID = "temporalWorkflowID"
# The engine's run of a workflow execution has the execution's hash.
_EXECUTION = re.compile(r"(agent|workflow|run)-([0-9a-f]{32})")
_PARTS = ("spec", "binding", "execution")
_LONGEST = 200
"""Characters of an id; they are the caller's choice."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class InheritedIds(SpanProcessor):
    """Gives a span the ids of the span it belongs to, and the one that its workflow's id is."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Looks at a span that begins."""
        known = span.attributes or {}
        if execution_id := _execution_id(str(known.get(_WORKFLOW_ID, ""))):
            span.set_attribute(EXECUTION_ID, execution_id)
        parent = getattr(trace.get_current_span(parent_context), "attributes", None) or {}
        for name in _IDS:
            if name in parent and name not in known:
                span.set_attribute(name, parent[name])


class TemporalIds(Interceptor, WorkerInterceptor):
    """Puts the ids in the inputs of workflows and activities on their spans."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wraps an activity."""
        return _Activity(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's name
    ) -> type[WorkflowInboundInterceptor]:
        """Wraps workflows."""
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        _identify(*input.args)
        return await super().execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        _identify(*input.args)
        return await super().execute_workflow(input)


class RpcIds(grpc.aio.ServerInterceptor):
    """Puts the ids in requests and answers on the spans of RPCs."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wraps the handlers of single requests."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            streaming: Any = handler.unary_stream

            def stream(request: object, context: object) -> Any:
                _identify(request)
                return streaming(request, context)

            return grpc.unary_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        behavior: Any = handler.unary_unary

        async def call(request: object, context: object) -> object:
            _identify(request)
            answer = await behavior(request, context)
            _identify(answer)
            return answer

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )


def _identify(*messages: object) -> None:
    """Set what the messages tell as attributes of the current span."""
    span = trace.get_current_span()
    if span.is_recording():
        for message in messages:
            if isinstance(message, Message):
                ids = {name: value[:_LONGEST] for name, value in _ids(message) if value}
                span.set_attributes(ids)


def _ids(message: Message) -> Iterator[tuple[str, str]]:
    fields = message.DESCRIPTOR.fields_by_name
    said: Any = message
    for part in _PARTS:
        if part in fields and message.HasField(part):
            yield from _ids(getattr(said, part))
    if "execution_id" in fields:
        yield EXECUTION_ID, said.execution_id
    elif "id" in fields:
        yield EXECUTION_ID, _execution_id(said.id)
    if "request_id" in fields:
        yield REQUEST_ID, said.request_id
    for name in ("callback_token", "token"):
        if name in fields:
            yield FINGERPRINT, tokens.fingerprint(getattr(said, name))
    if "status" in fields and "callback" in said.status.DESCRIPTOR.fields_by_name:
        yield FINGERPRINT, said.status.callback.fingerprint


def _execution_id(identifier: str) -> str:
    """The execution that an id is of; "" for others, which are the caller's choice."""
    found = _EXECUTION.fullmatch(identifier)
    if found is None:
        return ""
    return identifier.replace("run-", "workflow-", 1) if found[1] == "run" else identifier
