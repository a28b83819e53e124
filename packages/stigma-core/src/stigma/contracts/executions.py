"""The two kinds of executions: an agent's and a workflow's. Delivery treats them alike.

Their phases have the same numbers, and what they share by name means the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.internal.v1.execution_pb2 import DeliverCallbackRequest
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution

Execution: TypeAlias = AgentExecution | WorkflowExecution


class Kind(StrEnum):
    """Kind of an execution, with which its id begins."""

    AGENT = "agent"
    WORKFLOW = "workflow"

    @property
    def workflow_type(self) -> str:
        """Name of the Temporal workflow that runs an execution of this kind."""
        return _WORKFLOW_TYPES[self]

    @classmethod
    def of(cls, execution: Execution) -> Kind:
        """Return the kind of an execution."""
        return cls.AGENT if isinstance(execution, AgentExecution) else cls.WORKFLOW

    @classmethod
    def of_id(cls, execution_id: str) -> Kind | None:
        """Return the kind that an execution id is of; None for what is no execution's id."""
        return next((kind for kind in cls if execution_id.startswith(f"{kind}-")), None)


def delivered_execution(request: DeliverCallbackRequest) -> Execution:
    """Return the execution whose outcome is delivered."""
    if request.HasField("workflow_execution"):
        return request.workflow_execution
    return request.execution


_WORKFLOW_TYPES = {Kind.AGENT: "AgentWorkflow", Kind.WORKFLOW: "WorkflowExecutionWorkflow"}


def phase_name(execution: Execution) -> str:
    """Return the phase without its prefix, for instance "RUNNING"; its number where unnamed."""
    enum = execution.status.DESCRIPTOR.fields_by_name["phase"].enum_type
    phase = execution.status.phase
    if enum is None or phase not in enum.values_by_number:  # of a later release
        return str(phase)
    return enum.values_by_number[phase].name.partition("_PHASE_")[2]
