"""Ids that join spans, logs and executions, as attributes of every span.

They are read from requests, responses and inputs, which name them alike. A token is shown as its
fingerprint.
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
from typing_extensions import override

from stigma.contracts import tokens

EXECUTION_ID = "stigma.execution_id"
REQUEST_ID = "stigma.request_id"
FINGERPRINT = "stigma.callback_fingerprint"
_IDS = (EXECUTION_ID, REQUEST_ID, FINGERPRINT)
_WORKFLOW_ID = "temporalWorkflowID"
# Ids of executions; the engine's run of a workflow execution has the execution's hash.
_EXECUTION_ID = re.compile(r"(agent|workflow|run)-([0-9a-f]{32})")
_NESTED_FIELDS = ("spec", "binding", "execution")
_MAX_CHARACTERS = 200
"""Most characters of an id: it is the caller's choice."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class InheritedIds(SpanProcessor):
    """Copies the ids of its parent to a span, and sets the execution id in its workflow's id."""

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        known = span.attributes or {}
        if execution_id := _execution_id(str(known.get(_WORKFLOW_ID, ""))):
            span.set_attribute(EXECUTION_ID, execution_id)
        parent = getattr(trace.get_current_span(parent_context), "attributes", None) or {}
        for name in _IDS:
            if name in parent and name not in known:
                span.set_attribute(name, parent[name])


class TemporalIds(Interceptor, WorkerInterceptor):
    """Puts the ids in the inputs of workflows and activities on their spans."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)

    @override
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,
    ) -> type[WorkflowInboundInterceptor]:
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        _identify(*input.args)
        return await super().execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    @override
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        _identify(*input.args)
        return await super().execute_workflow(input)


class RpcIds(grpc.aio.ServerInterceptor):
    """Puts the ids in requests and responses on the spans of RPCs."""

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
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
            response = await behavior(request, context)
            _identify(response)
            return response

        return grpc.unary_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )


def _identify(*messages: object) -> None:
    """Set the ids in messages as attributes of the current span."""
    span = trace.get_current_span()
    if span.is_recording():
        for message in messages:
            if isinstance(message, Message):
                ids = {name: value[:_MAX_CHARACTERS] for name, value in _ids(message) if value}
                span.set_attributes(ids)


def _ids(message: Message) -> Iterator[tuple[str, str]]:
    fields = message.DESCRIPTOR.fields_by_name
    values: Any = message
    for part in _NESTED_FIELDS:
        if part in fields and message.HasField(part):
            yield from _ids(getattr(values, part))
    if "execution_id" in fields:
        yield EXECUTION_ID, values.execution_id
    elif "id" in fields:
        yield EXECUTION_ID, _execution_id(values.id)
    if "request_id" in fields:
        yield REQUEST_ID, values.request_id
    for name in ("callback_token", "token"):
        if name in fields:
            yield FINGERPRINT, tokens.fingerprint(getattr(values, name))
    if "status" in fields and "callback" in values.status.DESCRIPTOR.fields_by_name:
        yield FINGERPRINT, values.status.callback.fingerprint


def _execution_id(identifier: str) -> str:
    """Return the execution's id in a workflow id; "" for ids that are the caller's choice."""
    found = _EXECUTION_ID.fullmatch(identifier)
    if found is None:
        return ""
    return identifier.replace("run-", "workflow-", 1) if found[1] == "run" else identifier
