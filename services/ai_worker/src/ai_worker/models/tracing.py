"""Spans of model calls, with OpenTelemetry's `gen_ai.*` names and no content.

The names are those of the GenAI semantic conventions (github.com/open-telemetry/
semantic-conventions-genai, `gen_ai.inference.client`). They are in development there: this is the
only module that knows them. What the conventions call opt-in (messages, instructions, definitions
of tools) is content, and is never recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ai_worker.models.provider import ModelResult
from stigma.internal.v1.execution_pb2 import FinishReason, ModelCallRequest


@contextmanager
def model_call_span(request: ModelCallRequest) -> Iterator[Span]:
    """Open the span of one model call.

    Exceptions are not recorded: `record_failure` records the reason.
    """
    provider, _, model = request.model.partition(":")
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.output.type": "json" if request.output_schema else "text",
        "stigma.execution_id": request.execution_id,
        "stigma.step": request.step,
    }
    agent, _, version = request.agent_id.partition("@")
    if agent:  # an inline agent has no name
        attributes["gen_ai.agent.name"] = agent
    if version:
        attributes["gen_ai.agent.version"] = version
    for name in ("temperature", "top_p", "max_tokens"):
        if request.settings.HasField(name):
            attributes[f"gen_ai.request.{name}"] = getattr(request.settings, name)
    with trace.get_tracer("ai_worker").start_as_current_span(
        f"chat {model}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def record_result(span: Span, result: ModelResult) -> None:
    """Record the usage and the finish reason of a call."""
    span.set_attribute("gen_ai.usage.input_tokens", result.usage.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", result.usage.output_tokens)
    if result.usage.cache_read_tokens:
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", result.usage.cache_read_tokens)
    if result.usage.cache_write_tokens:
        span.set_attribute(
            "gen_ai.usage.cache_creation.input_tokens", result.usage.cache_write_tokens
        )
    reason = FinishReason.Name(result.finish_reason).removeprefix("FINISH_REASON_").lower()
    span.set_attribute("gen_ai.response.finish_reasons", [reason])


def record_failure(span: Span, reason: str) -> None:
    """Record a call that failed for `reason`: a failure reason's name, or CANCELLED."""
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR, reason))
