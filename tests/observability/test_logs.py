"""One call, followed over four services and its caller's program by each id that it has."""

from __future__ import annotations

import json

import pytest

from tests.observability.traced import Call
from tests.stack.logs import Event
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

TAKEN = ["token_taken", "start_requested"]
STARTED = ["request_received", "workflow_started"]
AUDITED = ["audit"]
ACKNOWLEDGED = ["acknowledged", "pending"]
DELIVERED = ["delivering", "delivered"]
MODEL_CALLS = ["model_call_started", "model_call_completed"] * 2

HAND_OFFS = [*TAKEN, *STARTED, *ACKNOWLEDGED, *DELIVERED]
STORY = {
    "request_id": [*HAND_OFFS, *AUDITED, "resumed"],
    "callback_fingerprint": HAND_OFFS,
    # It is there from the acknowledgement on.
    "execution_id": ["workflow_started", *AUDITED, *ACKNOWLEDGED, *DELIVERED, "resumed"],
    # The caller's own, which the API was told.
    "workflow_id": [*TAKEN, "request_received", *ACKNOWLEDGED, "resumed"],
    "run_id": [*TAKEN, "request_received", *ACKNOWLEDGED, "resumed"],
    "activity_id": [*TAKEN, "request_received", *ACKNOWLEDGED],
}
SAID_BY = {
    **dict.fromkeys([*STARTED, *AUDITED], "stigma_api"),
    **dict.fromkeys(DELIVERED, "stigma_orchestrator"),
    **dict.fromkeys(MODEL_CALLS, "ai_worker"),
}
OF_AGENTS_CALL = {"request_id", "execution_id"}


@pytest.fixture(scope="module")
async def lines(traced_stack: Stack, called: Call) -> list[Event]:
    """Every line of the call, of the services and of the caller's program."""

    of_services = len(STORY["request_id"]) * 2 + len(MODEL_CALLS) - len(called.log)

    def written() -> list[Event] | None:
        found = traced_stack.events(trace_id=called.trace_id)
        return found if len(found) >= of_services else None

    found = await eventually(
        written, what=lambda: f"{of_services} of {traced_stack.events(trace_id=called.trace_id)}"
    )
    return found + [line | {"service": "shop"} for line in called.log]


def grep(lines: list[Event], text: str) -> list[Event]:
    """The lines with a text anywhere in them, as an operator finds them."""
    return [line for line in lines if text in json.dumps(line)]


def ids(lines: list[Event], service: str) -> dict[str, str]:
    """The ids of the call that a service makes: each id its lines name is one."""
    [pending] = [line for line in lines if (line["service"], line["event"]) == (service, "pending")]
    return {name: pending[name] for name in STORY}


@pytest.mark.parametrize("name", list(STORY))
@pytest.mark.parametrize("caller", ["shop", "zigflow_worker"])
def test_each_id_tells_its_part(lines: list[Event], caller: str, name: str) -> None:
    """The caller's program calls a Stigma workflow; the engine, for it, an agent."""
    story = STORY[name]
    if caller == "zigflow_worker" and name in OF_AGENTS_CALL:
        story = story + MODEL_CALLS
    found = grep(lines, ids(lines, caller)[name])
    assert sorted(line["event"] for line in found) == sorted(story)
    assert {line["service"] for line in found} == {SAID_BY.get(event, caller) for event in story}


def test_the_trace_is_of_both_calls(lines: list[Event], called: Call) -> None:
    found = grep(lines, called.trace_id)
    events = [line["event"] for line in found]
    both = STORY["request_id"] * 2 + MODEL_CALLS
    assert sorted(events) == sorted(both)
    assert {line["service"] for line in found} == {
        *("shop", "stigma_api", "stigma_orchestrator", "ai_worker", "zigflow_worker")
    }


def test_the_engines_run_is_found_by_its_execution(lines: list[Event], called: Call) -> None:
    """Its workflow's id has the hash of the execution's: the agents called in it are found."""
    number = called.execution_id.partition("-")[2]
    inside = [line for line in grep(lines, number) if line["service"] == "zigflow_worker"]
    assert [line["event"] for line in inside] == [*TAKEN, *ACKNOWLEDGED, "resumed"]
    [agent] = {line["execution_id"] for line in inside if "execution_id" in line}
    assert any(line["event"] == "model_call_completed" for line in grep(lines, agent))


def test_both_kinds_log_the_same_fields(lines: list[Event]) -> None:
    """But for what is called: an agent or a workflow."""

    def fields(caller: str, kind: str) -> dict[str, set[str]]:
        own = grep(lines, ids(lines, caller)["request_id"])
        return {
            line["event"]: {"what" if name == kind else name for name in line}
            for line in own
            if line["service"] not in {"shop", "zigflow_worker"}
            and not line["event"].startswith("model_call")
        }

    assert fields("shop", "workflow") == fields("zigflow_worker", "agent")
