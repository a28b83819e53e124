"""The two kinds of executions, and the differences between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from temporalio.common import SearchAttributeKey

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionSpec
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    ListAgentExecutionsRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.contracts import search_attributes, sub_agents
from stigma.contracts.executions import Kind
from stigma.contracts.workflows import AgentWorkflow, WorkflowExecutionWorkflow
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, WorkflowExecutionInput
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution, WorkflowExecutionSpec
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    StartWorkflowRequest,
)
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec

StartRequest: TypeAlias = StartAgentRequest | StartWorkflowRequest
ListRequest: TypeAlias = ListAgentExecutionsRequest | ListWorkflowExecutionsRequest
CancelRequest: TypeAlias = CancelAgentExecutionRequest | CancelWorkflowExecutionRequest
ExecutionSpec: TypeAlias = AgentExecutionSpec | WorkflowExecutionSpec
ExecutionInput: TypeAlias = AgentWorkflowInput | WorkflowExecutionInput
DefinitionSpec: TypeAlias = AgentSpec | WorkflowSpec

E = TypeVar("E", AgentExecution, WorkflowExecution)
D = TypeVar("D", Agent, Workflow)

INLINE = "inline"
"""Stands for the name of a definition that came with its request."""


@dataclass(frozen=True)
class ExecutionKind(Generic[E]):
    """One kind of executions."""

    kind: Kind
    execution: type[E]
    spec: type[AgentExecutionSpec] | type[WorkflowExecutionSpec]
    input: type[AgentWorkflowInput] | type[WorkflowExecutionInput]
    workflow: type[AgentWorkflow] | type[WorkflowExecutionWorkflow]
    """Interface of the Temporal workflow that runs one."""
    name_attribute: SearchAttributeKey[str]
    """Holds the definition's name."""
    fields_kept_from_memo: tuple[str, ...]
    """Fields of the spec that are left out of the memo."""
    definition_fields_stripped: tuple[str, ...]
    """Fields of the definition that are too large for the memo and for replies."""
    query_returns_spec: bool
    """True when the workflow's query always returns the spec; else it is read from the history."""

    @property
    def workflow_type(self) -> str:
        """The Temporal workflow that runs one."""
        return self.kind.workflow_type

    def definition_id(self, named_by: StartRequest | ExecutionSpec) -> str:
        """Return "name" or "name@version" of the definition; "" for an inline one."""
        return str(getattr(named_by, f"{self.kind}_id"))


AGENTS = ExecutionKind(
    kind=Kind.AGENT,
    execution=AgentExecution,
    spec=AgentExecutionSpec,
    input=AgentWorkflowInput,
    workflow=AgentWorkflow,
    name_attribute=search_attributes.AGENT,
    fields_kept_from_memo=sub_agents.PRIVATE_SPEC_FIELDS,
    definition_fields_stripped=sub_agents.STRIPPED_AGENT_FIELDS,
    query_returns_spec=True,
)
WORKFLOWS = ExecutionKind(
    kind=Kind.WORKFLOW,
    execution=WorkflowExecution,
    spec=WorkflowExecutionSpec,
    input=WorkflowExecutionInput,
    workflow=WorkflowExecutionWorkflow,
    name_attribute=search_attributes.WORKFLOW,
    fields_kept_from_memo=("input_json",),
    definition_fields_stripped=("document",),
    query_returns_spec=False,
)
KINDS: tuple[ExecutionKind[Any], ...] = (AGENTS, WORKFLOWS)
