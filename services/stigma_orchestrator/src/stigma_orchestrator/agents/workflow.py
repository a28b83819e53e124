"""`AgentWorkflow`: one agent execution, from the first bound token to the last delivery."""

from __future__ import annotations

from temporalio import workflow
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.agent.v1.agent_execution_pb2 import AgentExecution
    from stigma.contracts import conversation, limits, versions, workflows
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind
    from stigma_orchestrator.agents.loop import AgentLoop
    from stigma_orchestrator.agents.tool_loop import ToolLoop
    from stigma_orchestrator.executions.deadline import settle_deadline
    from stigma_orchestrator.executions.lifecycle import ExecutionLifecycle


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow(workflows.AgentWorkflow):
    """Runs an agent and delivers its outcome to all bound activities."""

    @workflow.init
    def __init__(self, request: AgentWorkflowInput) -> None:
        settle_deadline(request)
        self._request = request
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        # An agent without tools goes on as in 0.1.0, which has to be able to replay it.
        self._loop = (
            ToolLoop(request, queues) if request.spec.agent.tools else AgentLoop(request, queues)
        )
        self._lifecycle = ExecutionLifecycle(
            self._loop, request, AgentExecution, carried=request.carried
        )

    @override
    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._lifecycle.bind(bind)

    @override
    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        execution = self._lifecycle.snapshot()
        execution.spec.CopyFrom(self._request.spec)
        messages = self._loop.conversation.messages
        if self._request.spec.agent.tools:
            messages = conversation.fit_view(messages, limits.MAX_VIEW_BYTES)
        execution.status.messages.extend(messages)
        return execution

    @override
    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        if not await self._lifecycle.run_to_delivery():
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(
                self._lifecycle.next_input(),
                initial_versioning_behavior=versions.continue_as_new_behavior(),
            )
        return self._lifecycle.result_or_raise()
