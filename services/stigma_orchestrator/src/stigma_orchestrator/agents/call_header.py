"""The header `stigma-call`, by which what runs a tool's call learns whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from typing_extensions import override

from stigma.contracts import payloads, tools

_TEXT: ContextVar[str] = ContextVar("stigma_call_header", default="")


@contextmanager
def call_header(text: str) -> Iterator[None]:
    """Put a header, JSON text, on the activities and children that the body starts."""
    token = _TEXT.set(text)
    try:
        yield
    finally:
        _TEXT.reset(token)


class CallHeaders(Interceptor):
    """Adds the header; an interceptor of the worker of executions."""

    @override
    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    @override
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    @override
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = {**input.headers, **_headers()}
        return super().start_activity(input)

    @override
    async def start_child_workflow(
        self, input: StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = {**input.headers, **_headers()}
        return await super().start_child_workflow(input)


def _headers() -> dict[str, Payload]:
    text = _TEXT.get()
    return {tools.CALL_HEADER: payloads.json_text_payload(text)} if text else {}
