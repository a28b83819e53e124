"""A call of another agent: an execution of its own, within a share of what is left."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, ToolResult
from stigma.contracts import errors, payloads, sub_agents, tool_results, tools
from stigma.contracts.executions import Kind
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Lineage
from stigma_orchestrator.agents.ledger import Ledger, NothingLeftError
from stigma_orchestrator.agents.tool_step import ToolStep

_INLINE = "inline"
"""Stands for the name of an agent that came with its start."""


@dataclass(frozen=True)
class SubAgentStep(ToolStep):
    """One call of an agent."""

    request: AgentWorkflowInput
    """Of the execution that calls."""
    ledger: Ledger
    at_once: int
    """Number of agents that the answer calls."""

    @override
    def begin(self) -> ToolResult | None:
        try:
            self.ledger.reserve(self.call.call_id, self.tool.agent.budget, self.at_once)
        except NothingLeftError as error:
            return tool_results.of_limit(self.call, error.reason, str(error))
        return None

    @override
    async def run(self) -> ToolResult | None:
        try:
            return await super().run()
        finally:
            self.ledger.settle_lost(self.call.call_id)

    @override
    async def _execute(self, policy: tools.Policy) -> RawValue | None:
        share = self.ledger.share(self.call.call_id)
        now = workflow.now()
        child = sub_agents.child_input(
            self.request,
            self.tool,
            self.call,
            share=share.limits,
            lineage=self._lineage(share.sub_agents),
            now=now,
        )
        try:
            async with self.ledger.places:
                result: RawValue = await workflow.execute_child_workflow(
                    Kind.AGENT.workflow_type,
                    child,
                    id=child.execution_id,
                    task_queue=self.context.queues.orchestrator,
                    result_type=RawValue,
                    # Only an execution that was reset to before the call finds it.
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                    memo=sub_agents.memo(child, now),
                    search_attributes=sub_agents.attributes(child, now),
                )
        except ChildWorkflowError as error:
            if (ended := _execution_in(error)) is not None:
                self.ledger.settle(self.call.call_id, ended)
            raise
        self.ledger.settle(self.call.call_id, payloads.from_raw(result, AgentExecution))
        return result

    def _lineage(self, below: int) -> Lineage:
        mine, agent = self.request.lineage, self.request.sub_agents[self.tool.agent.agent].agent
        return Lineage(
            root=mine.root or self.context.execution_id,
            parent=self.context.execution_id,
            path=[*(mine.path or [self._own_name()]), agent.name],
            depth_left=self.ledger.depth_left - 1,
            sub_agents=below,
        )

    def _own_name(self) -> str:
        return self.context.spec.agent_id.partition("@")[0] or _INLINE


def _execution_in(error: ChildWorkflowError) -> AgentExecution | None:
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return None
    return errors.execution_from_details(errors.detail_of(cause))
