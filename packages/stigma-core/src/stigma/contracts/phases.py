"""Terminal phases of executions."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_TIMED_OUT,
)
from stigma.contracts.executions import Execution

TERMINAL = frozenset(
    {
        AGENT_EXECUTION_PHASE_COMPLETED,
        AGENT_EXECUTION_PHASE_FAILED,
        AGENT_EXECUTION_PHASE_CANCELLED,
        AGENT_EXECUTION_PHASE_TIMED_OUT,
    }
)


def has_ended(execution: Execution) -> bool:
    """Return whether an execution is over: nothing about it will change.

    By name, not by number: a phase that a later release adds has a higher number than these, and
    an execution in it may be open.
    """
    return execution.status.phase in TERMINAL
