"""The two ways in which the work of an execution ends: with an outcome, or to continue as new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionPhase, AgentOutput, Failure
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowOutput

Output: TypeAlias = AgentOutput | WorkflowOutput


@dataclass(frozen=True)
class Outcome:
    """The end of an execution. Once decided, neither a cancel nor a deadline changes it."""

    phase: AgentExecutionPhase.ValueType
    """For either kind: the numbers are the same."""
    output: Output | None = None
    failure: Failure | None = None
    cancel_requesters: frozenset[str] = frozenset()
    """Ids of activities that requested their cancellation and wait for the answer."""

    @classmethod
    def of_failure(
        cls, phase: AgentExecutionPhase.ValueType, reason: FailureReason.ValueType, message: str
    ) -> Outcome:
        """Return an outcome without an output."""
        return cls(phase, failure=Failure(reason=reason, message=message))


@dataclass(frozen=True)
class Continue:
    """A stop between two steps: the work goes on in the next run of its workflow."""

    content: str
    """Names what is carried over, for the failure when it is too large."""
    optional: bool = False
    """Work that may as well go on in this run; it is run again when it carries too much."""
