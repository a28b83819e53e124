"""Failures that cross to callers: a type, one line, and details any language reads."""

from __future__ import annotations

import json

import pytest

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
    AgentExecution,
    AgentExecutionStatus,
    Failure,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import errors


def execution(phase: int, step: str = "model_call 2") -> AgentExecution:
    failure = Failure(reason=errors.reason_of("STEP_LIMIT"), message="no answer", step=step)
    status = AgentExecutionStatus(phase=phase, failure=failure)  # type: ignore[arg-type]
    return AgentExecution(id="agent-1", status=status)


@pytest.mark.parametrize(
    ("phase", "type_"),
    [
        (AGENT_EXECUTION_PHASE_FAILED, "AGENT_EXECUTION_FAILED"),
        (AGENT_EXECUTION_PHASE_TIMED_OUT, "AGENT_EXECUTION_TIMEOUT"),
        (AGENT_EXECUTION_PHASE_CANCELLED, "AGENT_EXECUTION_CANCELLED"),
        # An answer that could not be delivered.
        (AGENT_EXECUTION_PHASE_COMPLETED, "AGENT_EXECUTION_FAILED"),
    ],
)
def test_each_phase_has_its_type(phase: int, type_: str) -> None:
    assert errors.ErrorType.of(execution(phase)) == type_


def test_the_line_names_reason_and_step() -> None:
    line = errors.failure_message(execution(AGENT_EXECUTION_PHASE_FAILED))
    assert line == "STEP_LIMIT: no answer (at model_call 2)"
    line = errors.failure_message(execution(AGENT_EXECUTION_PHASE_FAILED, step=""))
    assert line == "STEP_LIMIT: no answer"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no answer", "STEP_LIMIT: no answer"),
        ("STEP_LIMIT: no answer", "STEP_LIMIT: no answer"),
        ("STEP_LIMIT", "STEP_LIMIT"),
        ("step_limit", "STEP_LIMIT"),
        ("STEP_LIMITED", "STEP_LIMIT: STEP_LIMITED"),
    ],
)
def test_a_reason_is_said_once(message: str, line: str) -> None:
    assert errors.with_reason(message, "STEP_LIMIT") == line
    assert errors.with_reason(message, "") == message


def test_details_are_plain_json_and_come_back() -> None:
    failed = execution(AGENT_EXECUTION_PHASE_FAILED)
    details = json.loads(json.dumps(errors.failure_details(failed)))
    assert (details["reason"], details["step"]) == ("STEP_LIMIT", "model_call 2")
    assert errors.execution_from_details(details) == failed


def test_details_of_a_later_release_are_read() -> None:
    details = errors.failure_details(execution(AGENT_EXECUTION_PHASE_FAILED))
    details["execution"]["laterField"] = 1
    assert errors.execution_from_details(details) == execution(AGENT_EXECUTION_PHASE_FAILED)


@pytest.mark.parametrize(
    "details", [None, "text", [], {}, {"execution": "text"}, {"execution": {"id": 5}}]
)
def test_other_details_hold_no_execution(details: object) -> None:
    assert errors.execution_from_details(details) is None


@pytest.mark.parametrize("reason", FailureReason.values())
def test_every_reason_has_a_name(reason: FailureReason.ValueType) -> None:
    name = errors.reason_name(reason)
    assert not name.startswith("FAILURE_")
    assert errors.reason_of(name) == reason


def test_an_unknown_reason_is_internal() -> None:
    failed = execution(AGENT_EXECUTION_PHASE_FAILED)
    failed.status.failure.reason = 999  # type: ignore[assignment]  # of a later release
    assert errors.failure_details(failed)["reason"] == "INTERNAL"


@pytest.mark.parametrize("name", ["", "Odd", "REASON_OF_A_LATER_RELEASE"])
def test_an_unknown_name_is_internal(name: str) -> None:
    assert errors.reason_of(name) == FailureReason.FAILURE_REASON_INTERNAL
