"""Which executions are over."""

from __future__ import annotations

import pytest

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionPhase
from stigma.contracts.phases import has_ended

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


@pytest.mark.parametrize("name", AgentExecutionPhase.keys())
def test_each_phase_is_open_or_ended(name: str) -> None:
    execution = AgentExecution()
    execution.status.phase = AgentExecutionPhase.Value(name)
    assert has_ended(execution) is (name.removeprefix("AGENT_EXECUTION_PHASE_") in ENDED)


def test_a_phase_of_a_later_release_is_open() -> None:
    execution = AgentExecution()
    execution.status.phase = 99  # type: ignore[assignment] # as it arrives over the wire
    assert not has_ended(execution)
