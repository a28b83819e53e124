"""What an agent's own workflow may send, and what is said of the rest."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies
from temporalio.common import RawValue

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts import agent_runtime, limits, payloads
from stigma.contracts.agent_runtime import UnreadableError

JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=5,
)


def raw(value: Any) -> RawValue:
    return RawValue(payloads.json_text_payload(json.dumps(value)))


def test_a_report_with_all_it_may_have() -> None:
    used = {"input_tokens": 1, "output_tokens": 2, "tool_calls": 3, "model_calls": 4}
    usage = {**used, "cost_usd": 0.5}
    found = agent_runtime.read_report(
        raw({"id": "a", "step": "s", "text": "t", "usage": usage, "later": 1})
    )
    assert found == agent_runtime.Report("a", "s", "t", Usage(**used, cost_usd=0.5))


def test_a_report_is_a_model_call_unless_it_says_otherwise() -> None:
    assert agent_runtime.read_report(raw({"id": "a"})).usage == Usage(model_calls=1)
    none = {"id": "a", "usage": {"model_calls": 0}}
    assert agent_runtime.read_report(raw(none)).usage == Usage()


def test_tokens_without_a_cost_are_not_free() -> None:
    found = agent_runtime.read_report(raw({"id": "a", "usage": {"input_tokens": 1}}))
    assert found.usage == Usage(model_calls=1, input_tokens=1, unpriced_calls=1)


def test_what_is_long_is_cut_on_a_character() -> None:
    found = agent_runtime.read_report(raw({"id": "a", "step": "é" * 200, "text": "é" * 50_000}))
    assert found.step == "é" * (limits.MAX_REPORT_STEP_BYTES // 2)
    assert found.text == "é" * (limits.MAX_REPORT_TEXT_BYTES // 2)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "a report must be one json/plain object"),
        ({"id": ""}, "id of a report must be a text of 1 to 128 bytes"),
        ({"id": "x" * 129}, "id of a report must be a text of 1 to 128 bytes"),
        ({"id": "a", "step": 1}, "step of a report must be a text"),
        ({"id": "a", "usage": 1}, "usage of a report must be an object"),
        (
            {"id": "a", "usage": {"tool_calls": True}},
            "usage.tool_calls of a report must be an integer from 0",
        ),
        (
            {"id": "a", "usage": {"input_tokens": 10**30}},
            "usage.input_tokens of a report must be an integer from 0",
        ),
        (
            {"id": "a", "usage": {"cost_usd": -0.1}},
            "usage.cost_usd of a report must be a number from 0",
        ),
    ],
)
def test_what_is_no_report(value: Any, problem: str) -> None:
    with pytest.raises(UnreadableError, match=f"^{problem}$"):
        agent_runtime.read_report(raw(value))


@given(JSON)
def test_whatever_comes_is_read_or_refused(value: Any) -> None:
    for read in (agent_runtime.read_report, agent_runtime.read_input_request):
        with contextlib.suppress(UnreadableError):  # anything else would fail a workflow task
            read(raw(value))


def test_a_request_of_input() -> None:
    given = {"id": "a", "question": "Q?", "schema": {"type": "string"}, "timeout_seconds": 1.5}
    found = agent_runtime.read_input_request(raw(given))
    assert found.schema == '{"type":"string"}'
    assert found.timeout == timedelta(seconds=1.5)
    assert agent_runtime.read_input_request(raw({"id": "a", "question": "Q?"})).schema == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"question": "  "},
        {"question": "x" * (limits.MAX_SENT_MESSAGE_BYTES + 1)},
        {"schema": []},
        {"schema": {"description": "x" * limits.MAX_QUESTION_SCHEMA_BYTES}},
        {"timeout_seconds": 0},
        {"timeout_seconds": "1"},
        {"timeout_seconds": limits.MAX_INPUT_TIMEOUT.total_seconds() + 1},
    ],
)
def test_what_is_no_request_of_input(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        agent_runtime.read_input_request(raw({"id": "a", "question": "Q?", **wrong}))
