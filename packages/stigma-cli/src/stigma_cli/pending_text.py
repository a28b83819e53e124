"""Pending steps of executions, as text for people."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import PendingStep
from stigma.contracts.pending_steps import step_state
from stigma_cli.output import as_age, as_time


def pending_text(step: PendingStep) -> str:
    """Return a line: what is waited for, for how long, and how it stands.

    For instance "model call 2, openai:gpt-5 for 35s: last attempt: RATE_LIMITED, attempt 4 follows
    at 2026-01-31T12:00:00Z".
    """
    has_start = step.HasField("start_time")
    waited = f"{step.title} for {as_age(step.start_time)}" if has_start else step.title
    state = step_state(step, as_time)
    if step.input_required:
        state = f"{state}, see stigma execution get {step.execution_id}"
    return f"{waited}: {state}" if state else waited
