"""Pending steps of executions as pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import PendingStep
from stigma.contracts.pending_steps import step_state


@dataclass(frozen=True)
class PendingStepView:
    """One step that an execution waits for."""

    title: str
    state: str
    execution_id: str
    """Of an agent that is called; empty for other steps."""

    @classmethod
    def of(cls, step: PendingStep) -> PendingStepView:
        """Return the view of a step."""
        return cls(step.title, step_state(step, _time_text), step.execution_id)


def _time_text(time: Timestamp) -> str:
    return f"{time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
