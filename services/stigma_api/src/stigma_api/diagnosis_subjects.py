"""An execution of either kind as Temporal describes it: what is pending, who owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
)
from temporalio.client import Client
from temporalio.converter import decode_typed_search_attributes

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionPhase
from stigma.contracts import search_attributes
from stigma.contracts.executions import Execution
from stigma.runtime.pending_activities import OPEN
from stigma_api import outcome, status
from stigma_api.kinds import AGENTS, WORKFLOWS, ExecutionKind
from stigma_api.principals import Principal
from stigma_api.reading import is_pending
from stigma_api.temporal import describe

KINDS: dict[str, ExecutionKind[Any]] = {kind.workflow_type: kind for kind in (AGENTS, WORKFLOWS)}
"""The kinds of executions by the Temporal workflow type that runs each."""


@dataclass(frozen=True)
class Subject:
    """One execution: its memo, and Temporal's description of its current run."""

    kind: ExecutionKind[Any]
    execution: Execution
    digest: str
    described: DescribeWorkflowExecutionResponse

    @property
    def execution_id(self) -> str:
        """The execution's id, which is the workflow's."""
        return self.described.workflow_execution_info.execution.workflow_id

    @property
    def run_id(self) -> str:
        """The current run."""
        return self.described.workflow_execution_info.execution.run_id

    @property
    def first_run_id(self) -> str:
        """The run that was started; the others continued it."""
        return self.described.workflow_execution_info.first_run_id or self.run_id

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.described.workflow_execution_info.status in OPEN

    @property
    def definition_id(self) -> str:
        """ "name@version" of the agent or workflow; empty for an inline one."""
        return self.kind.definition_id(self.execution.spec)

    @property
    def start_time(self) -> Timestamp:
        """When it was accepted: a run that continued it began later."""
        if self.execution.status.HasField("start_time"):
            return self.execution.status.start_time
        return self.described.workflow_execution_info.start_time

    @property
    def phase(self) -> str:
        """The phase's name without its prefix, as far as Temporal itself knows it."""
        info = self.described.workflow_execution_info
        noted = decode_typed_search_attributes(info.search_attributes).get(search_attributes.PHASE)
        if noted:
            return noted
        if self.is_open and is_pending(self.described):
            return "PENDING"
        name = AgentExecutionPhase.Name(outcome.phase_of(info.status))
        return name.removeprefix("AGENT_EXECUTION_PHASE_")


class Subjects:
    """Looks executions up for those who may see them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, execution_id: str) -> Subject | None:
        """Return the execution, or None when there is none of this id."""
        reply = await describe(self._client, execution_id)
        kind = KINDS.get(reply.workflow_execution_info.type.name) if reply else None
        if reply is None or kind is None:
            return None
        fields = reply.workflow_execution_info.memo.fields
        execution = await outcome.from_memo(self._client, fields, kind.execution)
        digest = await outcome.digest_in_memo(self._client, fields)
        return Subject(kind, execution, digest, reply)

    async def visible(self, principal: Principal, execution_id: str) -> Subject:
        """Return the execution if this principal may see it.

        Raises:
            CallError: NOT_FOUND, also for another principal's: whether it exists is not told.
        """
        found = await self.find(execution_id)
        if found is None or not principal.may_see(found.execution.spec.principal):
            raise status.not_found(f"execution {execution_id}")
        return found
