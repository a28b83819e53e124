"""One trace from a caller's workflow to the model call and back, and nothing said twice."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from stigma.agent.v1.agent_service_pb2 import ListAgentsRequest
from tests.integration.trace_receiver import TraceReceiver
from tests.observability.spans import Node, Span, parsed, received, trees
from tests.observability.traced import Call, apply, call, environment, run_agent
from tests.stack.logs import Event
from tests.stack.plugin import StartStack
from tests.stack.stack import SERVICES, Stack
from tests.stack.waiting import eventually

AGENT = "RunWorkflow:AgentWorkflow"
PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"


def documented() -> Node:
    """The tree as the document shows it."""
    [text] = re.findall(r"```text\n(checkout .*?)```", PAGE.read_text(), re.DOTALL)
    return parsed(text)


async def whole(traces: TraceReceiver, trace_id: str) -> list[Span]:
    """The spans of a trace, once there are as many as documented."""
    expected = len(list(documented().walk()))
    return await eventually(
        lambda: found if len(found := received(traces, trace_id)) >= expected else None,
        what=lambda: "\n".join(
            line for root in trees(received(traces, trace_id)) for line in root.outline()
        ),
    )


def assert_documented(spans: list[Span]) -> Node:
    """Assert that the spans are the document's tree, each once; print it."""
    [root] = trees(spans)
    sys.stdout.write("\n".join(["", *root.outline(), ""]))
    assert root.shape() == documented().shape()
    assert len({span.span_id for span in spans}) == len(spans)
    return root


async def test_the_tree(called: Call, traces: TraceReceiver) -> None:
    root = assert_documented(await whole(traces, called.trace_id))
    for _, span in root.walk():
        assert not span.error, span
        assert span.start <= span.end


async def test_every_span_names_its_execution(called: Call, traces: TraceReceiver) -> None:
    spans = await whole(traces, called.trace_id)
    ours = [span for span in spans if span.service in SERVICES]
    named = {str(span.attributes.get("stigma.execution_id", f"not {span}")) for span in ours}
    assert called.execution_id in named
    [agent] = named - {called.execution_id}
    assert agent.startswith("agent-")
    for span in ours:
        if span.name.startswith(("RunActivity", "/stigma")):
            # Where a request is made or answered, it is named.
            assert span.attributes["stigma.request_id"], span
    fingerprints = {span.attributes.get("stigma.callback_fingerprint") for span in spans} - {None}
    assert len(fingerprints) == 2, "the caller's token and the engine's"
    of_caller = [span for span in spans if span.attributes.get("stigma.request_id")]
    for name in ("RunActivity:call_workflow", "RunWorkflow:WorkflowExecutionWorkflow"):
        [span] = [span for span in of_caller if span.name == name]
        assert span.attributes["stigma.request_id"] == called.request_id
        assert span.attributes["stigma.execution_id"] == called.execution_id


async def test_model_calls_have_conventional_names(called: Call, traces: TraceReceiver) -> None:
    spans = await whole(traces, called.trace_id)
    chats = [span for span in spans if span.name.startswith("chat ")]
    assert [span.attributes["stigma.step"] for span in chats] == [1, 2]
    for span in chats:
        assert (span.kind, span.name) == ("CLIENT", "chat demo")
        assert span.attributes["gen_ai.operation.name"] == "chat"
        assert span.attributes["gen_ai.provider.name"] == "scripted"
        assert span.attributes["gen_ai.request.model"] == "demo"
        assert span.attributes["gen_ai.agent.name"] == "reviewer"
        assert span.attributes["gen_ai.agent.version"] == "1"
        assert span.attributes["gen_ai.usage.output_tokens"] >= 1
    assert b"hello" not in traces.raw(), "the message is content"


async def test_log_lines_carry_the_trace(
    called: Call, traced_stack: Stack, traces: TraceReceiver
) -> None:
    await whole(traces, called.trace_id)
    expected = {"workflow_started", "model_call_completed", "delivering", "delivered", "resumed"}

    def all_told() -> list[Event] | None:
        told = traced_stack.events(trace_id=called.trace_id)
        return told if expected <= {event["event"] for event in told} else None

    told = await eventually(all_told, what=f"{expected} in the services' logs")
    assert {event["service"] for event in told} == set(SERVICES)
    spans = {span.span_id for span in received(traces, called.trace_id)}
    assert {event["span_id"] for event in told} <= spans
    # The caller's own log: the trace is the same when it resumes.
    assert [line["event"] for line in called.log if line["trace_id"] == called.trace_id] == [
        *("token_taken", "start_requested", "acknowledged", "pending", "resumed")
    ]


async def below_the_caller(traces: TraceReceiver, trace_id: str, span_id: str) -> list[Node]:
    """The trees of a call, once every service's spans are there.

    Each service sends its own in its own time: until the API's arrive, the orchestrator's are
    roots.
    """

    def complete() -> list[Node] | None:
        roots = trees(received(traces, trace_id))
        agents = [span for root in roots for _, span in root.walk() if span.name == AGENT]
        parents = {root.span.parent_id for root in roots}
        return roots if agents and parents == {span_id} else None

    return await eventually(
        complete,
        what=lambda: "\n".join(
            [
                f"the agent's span, and all below {span_id}; received were",
                *(line for root in trees(received(traces, trace_id)) for line in root.outline()),
            ]
        ),
    )


async def test_a_caller_in_any_language(traced_stack: Stack, traces: TraceReceiver) -> None:
    """Who sends W3C's traceparent in the call's metadata goes on in its own trace."""
    trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    await run_agent(traced_stack, {"traceparent": f"00-{trace_id}-{span_id}-01"})
    roots = await below_the_caller(traces, trace_id, span_id)
    assert {root.span.service for root in roots} == {"stigma_api"}
    names = [span.name for root in roots for _, span in root.walk()]
    assert names.count(AGENT) == 1


async def test_a_caller_who_does_not_sample(traced_stack: Stack, traces: TraceReceiver) -> None:
    """Its choice holds for all services: what it does not record, they do not."""
    trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    await run_agent(traced_stack, {"traceparent": f"00-{trace_id}-{span_id}-00"})
    after = uuid.uuid4().hex
    await run_agent(traced_stack, {"traceparent": f"00-{after}-{span_id}-01"})
    await below_the_caller(traces, after, span_id)
    assert received(traces, trace_id) == []


async def test_replays_say_nothing_twice(new_stack: StartStack, traces: TraceReceiver) -> None:
    """No workflow is kept in memory: each of their tasks replays the whole history."""
    forgetful = {"STIGMA_MAX_CACHED_WORKFLOWS": "0"}
    variables: dict[str, Mapping[str, str]] = {"*": environment(traces.endpoint)}
    variables |= dict.fromkeys(("stigma_orchestrator", "zigflow_worker"), forgetful)
    stack = await new_stack(environment=variables)
    await apply(stack)
    called = await call(stack, traces)
    await whole(traces, called.trace_id)
    await stack.stop()  # and everything they still held was sent
    assert_documented(received(traces, called.trace_id))


async def test_sampling_is_configured(new_stack: StartStack) -> None:
    with TraceReceiver() as own:  # to which no other services send
        off = environment(own.endpoint, OTEL_TRACES_SAMPLER="always_off")
        stack = await new_stack(services=("stigma_api",), environment={"*": off})
        await stack.agents.ListAgents(ListAgentsRequest())
        await stack.stop()
        assert own.requests == []


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_dead_collector_hurts_nobody(new_stack: StartStack, black_hole: str) -> None:
    """Nor do more spans than fit the queue; and it does not hold up the end of a service."""
    full = environment(black_hole, OTEL_BSP_MAX_QUEUE_SIZE="2", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2")
    stack = await new_stack(environment={"*": full})
    await apply(stack)
    async with asyncio.timeout(60):
        for _ in range(3):
            await run_agent(stack, {})
    clock = asyncio.get_running_loop().time
    began = clock()
    await stack.stop()
    assert timedelta(seconds=clock() - began) < timedelta(seconds=15)
    loud = [event for event in stack.events() if event.get("level") in {"error", "critical"}]
    assert {event["logger"].partition(".")[0] for event in loud} <= {"opentelemetry"}
    assert any("dropping" in event["event"] for event in stack.events()), "the queue was full"
