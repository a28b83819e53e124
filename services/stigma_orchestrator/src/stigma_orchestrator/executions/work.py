"""The interface between an execution's lifecycle and what it runs: an agent, or the engine."""

from __future__ import annotations

from typing import Protocol, TypeAlias, TypeVar

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionPhase
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    CarriedState,
    WorkflowExecutionInput,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_orchestrator.executions.outcome import Continue, Outcome

Input: TypeAlias = AgentWorkflowInput | WorkflowExecutionInput

ExecutionT_contra = TypeVar(
    "ExecutionT_contra", AgentExecution, WorkflowExecution, contravariant=True
)


class Work(Protocol[ExecutionT_contra]):
    """The work of one execution, of one kind."""

    @property
    def phase(self) -> AgentExecutionPhase.ValueType:
        """The phase until the outcome is decided; for either kind, the numbers are the same."""

    async def run(self) -> Outcome | Continue:
        """Do the work. Called again after an optional `Continue` that was not followed.

        When this is cancelled, the work is stopped.
        """

    async def settle(self, outcome: Outcome) -> None:
        """Do what follows the outcome once it is decided, before it is delivered."""

    def describe(self, execution: ExecutionT_contra) -> None:
        """Write the kind's own fields; all others, the phase included, are written already."""

    def carry(self, carried: CarriedState) -> Input:
        """Return the input of the next run, with the lifecycle's state and the work's own."""
