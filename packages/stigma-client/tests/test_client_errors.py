"""The one line that a failure is to its caller."""

from __future__ import annotations

import pytest

from stigma_client import AgentExecutionFailed


@pytest.mark.parametrize(
    "message",
    [
        "no answer",
        "STEP_LIMIT: no answer",
        "no answer at model_call 2",
        "STEP_LIMIT: no answer at model_call 2",  # as 0.1.0 says it
        "no answer (at model_call 2)",
        "STEP_LIMIT: no answer (at model_call 2)",
    ],
)
def test_the_reason_and_the_step_are_said_once(message: str) -> None:
    error = AgentExecutionFailed(message, reason="STEP_LIMIT", step="model_call 2")
    assert error.message == "STEP_LIMIT: no answer (at model_call 2)"


def test_without_a_step_none_is_said() -> None:
    error = AgentExecutionFailed("no outcome", reason="DEADLINE")
    assert error.message == "DEADLINE: no outcome"
