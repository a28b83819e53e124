"""Spans carry `gen_ai.*` names and no content."""

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.exceptions import ApplicationError

from ai_worker.models.activity import ModelCalls
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import Catalog
from ai_worker.models.metrics import ModelCallMetrics
from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CONTEXT_LENGTH,
    ModelSettings,
    Script,
    ScriptFailure,
    ScriptStep,
)
from stigma.internal.v1.execution_pb2 import ModelCallRequest

CONTENT = "confidential"


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter.get_finished_spans


async def test_an_answered_call(new_bench, spans):
    bench = await new_bench()
    await bench.call(
        ModelCallRequest(
            execution_id="agent-1",
            agent_id="reviewer@3",
            step=2,
            model="scripted:demo",
            message=f"three {CONTENT} words",
            instructions=CONTENT,
            settings=ModelSettings(temperature=0.5, max_tokens=10),
        )
    )
    (span,) = spans()
    assert span.name == "chat demo"
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "demo",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.agent.name": "reviewer",
        "gen_ai.agent.version": "3",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("stop",),
        "stigma.execution_id": "agent-1",
        "stigma.step": 2,
    }
    assert CONTENT not in span.to_json()


async def test_a_failed_call(new_bench, spans):
    bench = await new_bench()
    failure = ScriptFailure(reason=FAILURE_REASON_CONTEXT_LENGTH, message="too long")
    script = Script(steps=[ScriptStep(failure=failure)])
    with pytest.raises(ApplicationError):
        await bench.call(ModelCallRequest(model="scripted:demo", step=1, script=script))
    (span,) = spans()
    assert span.attributes["error.type"] == "CONTEXT_LENGTH"
    assert span.status.status_code == trace.StatusCode.ERROR
    assert span.events == ()


class Broken:
    """A provider with a bug."""

    name = "broken"

    def __init__(self, timeout):
        self.timeout = timeout

    def knows_price(self, model):
        return True

    def model_label(self, model):
        return "other"

    async def call(self, model, request, attempt, tools):
        await asyncio.sleep(0)
        raise TimeoutError(CONTENT)

    async def close(self):
        """It holds nothing."""


async def test_a_bug_in_a_provider_says_nothing_but_its_class(new_bench, spans, log_text):
    from datetime import timedelta

    bench = await new_bench()
    catalog = Catalog([Broken(timedelta(minutes=1))])
    metrics = ModelCallMetrics(bench.registry.__class__())
    bench.calls = ModelCalls(ModelCaller(catalog, metrics))
    with pytest.raises(ApplicationError, match="unexpected TimeoutError") as caught:
        await bench.call(ModelCallRequest(model="broken:x"))
    assert (caught.value.type, caught.value.non_retryable) == ("INTERNAL", True)
    assert CONTENT not in log_text() + spans()[0].to_json()


async def test_cached_tokens_are_on_the_span(server, new_bench, spans):
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
    }
    used = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    cached = {"prompt_tokens_details": {"cached_tokens": 6}}
    server.reply(head | {"choices": [choice], "usage": used | cached})
    bench = await new_bench(server.openai())
    task = Message(role=ROLE_USER, parts=[Part(text=CONTENT)])
    await bench.call(ModelCallRequest(model="local:gpt-4o", step=1, messages=[task]))
    (span,) = spans()
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 6
    assert "gen_ai.usage.cache_creation.input_tokens" not in span.attributes
    assert CONTENT not in span.to_json()
