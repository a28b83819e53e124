"""A tool call: an activity, a child workflow or a Nexus operation of the agent's workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError

from stigma.agent.v1.agent_execution_pb2 import ToolCall, ToolResult
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import engine, payloads, tool_results, tools
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_orchestrator.agents.call_header import call_header
from stigma_orchestrator.agents.step import StepContext, raise_if_stopped


@dataclass(frozen=True)
class ToolStep:
    """One call of a tool."""

    context: StepContext
    tool: Tool
    call: ToolCall
    workflows: Mapping[str, Workflow]
    """The registered documents that tools name, by the tool's name."""
    result_bytes: list[int] = field(default_factory=list, kw_only=True)
    """Bytes of the result as it came; empty while there is none, or after a failure."""

    @property
    def runs_alone(self) -> bool:
        """Whether no other call of the same answer runs at the same time."""
        return self.tool.policy.sequential

    @property
    def is_agent(self) -> bool:
        """Whether the call is an execution of another agent."""
        return self.tool.HasField("agent")

    def begin(self) -> ToolResult | None:
        """Return the result of a call that cannot even begin; None where it can."""
        return None

    @property
    def has_task(self) -> bool:
        """Whether a server works on the call, though nothing of ours waits for that."""
        return False

    async def run(self) -> ToolResult | None:
        """Run the call; whatever becomes of it is a result. None where it goes on later.

        Raises:
            CancelledError: the agent was stopped.
        """
        policy = self._policy()
        try:
            with call_header(self._header()):
                result = await self._execute(policy)
        except FailureError as error:
            raise_if_stopped(error)
            if isinstance(error, WorkflowAlreadyStartedError):
                return tool_results.started_before(self.call)
            return tool_results.of_failure(self.call, self.tool, error)
        payload = None if result is None else result.payload
        self.result_bytes.append(0 if payload is None else len(payload.data))
        return tool_results.of_success(self.call, self.tool, payload)

    async def _execute(self, policy: tools.Policy) -> RawValue | None:
        match self.tool.WhichOneof("kind"):
            case "activity":
                return await self._execute_activity(policy)
            case "workflow":
                return await self._execute_workflow(policy)
            case _:
                return await self._execute_operation(policy)

    async def _execute_activity(self, policy: tools.Policy) -> RawValue | None:
        result: RawValue | None = await workflow.execute_activity(
            self.tool.activity.type,
            self._argument(),
            activity_id=tools.tool_activity_id(self.call.call_id),
            task_queue=self.tool.activity.task_queue,
            result_type=RawValue,
            # Not the agent's deadline: it stops the agent, and with it the call.
            schedule_to_close_timeout=policy.timeout,
            schedule_to_start_timeout=policy.start_timeout,
            start_to_close_timeout=policy.attempt_timeout,
            heartbeat_timeout=policy.heartbeat_timeout,
            retry_policy=RetryPolicy(maximum_attempts=policy.attempts),
        )
        return result

    async def _execute_workflow(self, policy: tools.Policy) -> RawValue | None:
        kind, queue, argument = self.tool.workflow.type, self.tool.workflow.task_queue, None
        if self.tool.workflow.name:
            if self.tool.name not in self.workflows:
                raise ApplicationError("the workflow was not found at the start", type="NotFound")
            document = self.workflows[self.tool.name]
            kind, queue = document.name, self.context.queues.engine
            argument = engine.start_argument(document.spec.document, self._argument_text())
        # Only an execution that was reset to before the call finds a workflow of the same id.
        reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE
        if policy.retry_safe:
            reuse = WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        result: RawValue | None = await workflow.execute_child_workflow(
            kind,
            argument or self._argument(),
            id=tools.child_workflow_id(self.context.execution_id, self.call.call_id),
            task_queue=queue,
            result_type=RawValue,
            execution_timeout=policy.timeout,
            id_reuse_policy=reuse,
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            retry_policy=RetryPolicy(maximum_attempts=policy.attempts),
        )
        return result

    async def _execute_operation(self, policy: tools.Policy) -> RawValue | None:
        nexus = self.tool.nexus
        client = workflow.create_nexus_client(service=nexus.service, endpoint=nexus.endpoint)
        result: RawValue | None = await client.execute_operation(
            nexus.operation,
            self._argument(),
            output_type=RawValue,
            schedule_to_close_timeout=policy.timeout,
            headers={tools.CALL_HEADER: self._header()},
        )
        return result

    def _policy(self) -> tools.Policy:
        return tools.Policy.of(self.tool)

    def _header(self) -> str:
        return tools.header_text(self.context.execution_id, self.context.spec, self.call.call_id)

    def _argument_text(self) -> str:
        return tools.argument_text(self.context.execution_id, self.tool, self.call)

    def _argument(self) -> RawValue:
        return RawValue(payloads.json_text_payload(self._argument_text()))
