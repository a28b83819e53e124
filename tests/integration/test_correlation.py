"""One call, told by every service in turn: each step once, found by request id and fingerprint."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from stigma.contracts import tokens
from tests.integration.installation import Installation
from tests.stack.logs import Event
from tests.stack.waiting import eventually

START = [
    ("zigflow_worker", "token_taken"),
    ("zigflow_worker", "start_requested"),
    ("stigma_api", "request_received"),
    ("stigma_api", "workflow_started"),
]
# After the start, while the agent may be at work already.
AUDITED = [("stigma_api", "audit")]
ACKNOWLEDGED = [("zigflow_worker", "acknowledged"), ("zigflow_worker", "pending")]
END = [("stigma_orchestrator", "delivering"), ("stigma_orchestrator", "delivered")]
RESUMED = [("zigflow_worker", "resumed")]


def model_calls(*outcomes: str) -> list[tuple[str, str]]:
    """The events of an agent whose model calls ended so."""
    return [
        ("ai_worker", event)
        for outcome in outcomes
        for event in ("model_call_started", f"model_call_{outcome}")
    ]


STEPS = {
    "echo": model_calls("completed"),
    "broken": model_calls("completed", "failed"),
    "held": model_calls("completed"),
}
# What has no token has no fingerprint of one.
WITHOUT_TOKEN = {"model_call_started", "model_call_completed", "model_call_failed", "resumed"}


async def told(installation: Installation, agent: str) -> list[Event]:
    """Have the engine call an agent; every event of that call, by all services."""
    group = uuid.uuid4().hex
    asked = f"{{agent: {agent}, message: {group}, labels: {{group: {group}}}}}"
    run = await installation.run_document(
        "document: {dsl: '1.0.3', namespace: tests, name: document, version: '1.0.0'}\n"
        f"do: [{{ask: {{call: agent, with: {asked}}}}}]"
    )
    [execution] = await installation.of_group(group, 1)
    request_id = execution.spec.request_id
    if agent == "held":
        # Held until the caller has logged that it waits: an answer may be faster than that.
        call = await installation.gate.held(group)
        await installation.stack.wait_for_event("zigflow_worker", "pending", request_id=request_id)
        call.answer("now")
    await _outcome(run)
    # Each service says its part in its own time: even a caller may have its answer before it has
    # said that it waits.
    for service, event in (*START, *AUDITED, *ACKNOWLEDGED, *END, *RESUMED):
        await installation.stack.wait_for_event(service, event, request_id=request_id)
    return installation.stack.events(request_id=request_id)


async def _outcome(run: Any) -> None:
    try:
        await run.result()
    except WorkflowFailureError:
        return


def names(events: list[Event]) -> list[tuple[str, str]]:
    return [(event["service"], event["event"]) for event in events]


def assert_in_order(events: list[Event], expected: list[tuple[str, str]]) -> None:
    """Assert that no step is before the one it follows from. All clocks are one machine's."""
    left = list(events)
    moments = []
    for name in expected:
        event = left.pop(names(left).index(name))
        moments.append(event["timestamp"])
    assert moments == sorted(moments), list(zip(expected, moments, strict=True))


@pytest.mark.parametrize("agent", ["echo", "broken", "held"])
async def test_every_step_in_order(installation: Installation, agent: str) -> None:
    events = await told(installation, agent)
    assert_in_order(events, [*START, *STEPS[agent], *END])
    # The caller has the answer a moment before the orchestrator hears that it took it.
    assert_in_order(events, [END[0], *RESUMED])
    # The acknowledgement returns to the caller while the agent is at work already.
    assert_in_order(events, [*START, *AUDITED])
    assert_in_order(events, [*START, *ACKNOWLEDGED])
    if agent == "held":
        assert_in_order(events, [*ACKNOWLEDGED, ("ai_worker", "model_call_completed")])
    assert sorted(names(events)) == sorted(
        [*START, *AUDITED, *ACKNOWLEDGED, *STEPS[agent], *END, *RESUMED]
    ), "an event more or less than documented"


async def test_every_step_names_the_call(installation: Installation) -> None:
    events = await told(installation, "echo")
    [execution_id] = {event["execution_id"] for event in events if "execution_id" in event}
    execution = await installation.execution(execution_id)
    fingerprint = execution.status.callback.fingerprint
    assert len(fingerprint) == tokens.FINGERPRINT_LENGTH
    for event in events:
        assert event["request_id"] == execution.spec.request_id
        if event["event"] == "audit":  # of who asked, not of who waits
            assert event["execution_id"] == execution_id
            continue
        assert event.get("workflow_id"), event["event"]
        if event["event"] in WITHOUT_TOKEN:
            continue
        assert event["callback_fingerprint"] == fingerprint, event["event"]
        if event["event"] != "workflow_started":
            assert event["token_length"] > 100
    callers = {
        (event["workflow_id"], event["run_id"], event["activity_id"])
        for event in events
        if event["event"] in {"token_taken", "start_requested", "request_received", "pending"}
    }
    assert len(callers) == 1, "caller and API name the same activity"
    assert {event.get("attempt") for event in events if event["service"] != "stigma_api"} >= {1}


async def test_a_refused_token_is_found_too(installation: Installation) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    await parked.terminate()
    request_id = uuid.uuid4().hex
    with pytest.raises(Exception, match="does not wait any more"):
        await installation.start(
            agent_id="echo", message="hi", callback_token=token, request_id=request_id
        )
    log = installation.stack.process("stigma_api").log
    await log.wait_for("token_rejected", request_id=request_id)
    assert [
        event["event"] for event in log.events(callback_fingerprint=tokens.fingerprint(token))
    ] == ["request_received", "token_rejected"]


async def test_each_worker_says_what_it_serves(installation: Installation) -> None:
    registered = await eventually(
        lambda: installation.stack.events("registered"), what="the workers' registrations"
    )
    queues = installation.stack.queues
    assert {event["task_queue"] for event in registered} == {
        queues.engine,
        queues.orchestrator,
        queues.ai,
        queues.watch,
    }
    assert all(event["workflows"] or event["activities"] for event in registered)
