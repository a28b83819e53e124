"""`AgentWorkflow`: one agent execution, from the first bound token to the last delivery."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.agent.v1.agent_execution_pb2 import AgentExecution, InputResolution
    from stigma.agent.v1.agent_execution_service_pb2 import SendAgentMessageResponse
    from stigma.contracts import conversation, limits, pending_inputs, phases, versions, workflows
    from stigma.contracts.task_queues import TaskQueues
    from stigma.contracts.workflows import UpdateRefusal
    from stigma.internal.v1.execution_pb2 import (
        AgentWorkflowInput,
        Bind,
        PendingInputs,
        SendMessage,
        SubmitInput,
    )
    from stigma_orchestrator.agents.loop import AgentLoop
    from stigma_orchestrator.agents.refusal import refusal
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
        calls_agents = any(tool.HasField("agent") for tool in request.spec.agent.tools)
        self._lifecycle = ExecutionLifecycle(
            self._loop,
            request,
            AgentExecution,
            carried=request.carried,
            stop_grace=lambda: self._stop_grace(calls_agents=calls_agents),
        )

    def _stop_grace(self, *, calls_agents: bool) -> timedelta:
        if calls_agents:
            return limits.SUB_AGENTS_STOP_GRACE
        has_tasks = isinstance(self._loop, ToolLoop) and self._loop.has_tasks
        return limits.MCP_TASKS_STOP_GRACE if has_tasks else timedelta()

    @override
    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._lifecycle.bind(bind)

    @override
    @workflow.update(name="submit_input")
    def submit_input(  # type: ignore[override] # an update of this class
        self, submitted: SubmitInput
    ) -> InputResolution:
        loop = self._tool_loop()
        if (repeated := loop.mailbox.repeated(submitted.update_id)) is not None:
            return repeated.resolution
        resolution = loop.inputs.submit(submitted)
        loop.mailbox.answered(submitted.update_id, resolution)
        return resolution

    @submit_input.validator
    def _check_input(self, submitted: SubmitInput) -> None:
        loop = self._tool_loop(UpdateRefusal.INPUT_NOT_FOUND)
        if loop.mailbox.repeated(submitted.update_id) is None:
            self._require_running()
            loop.inputs.check(submitted)

    @override
    @workflow.update(name="send_message")
    def send_message(  # type: ignore[override] # an update of this class
        self, sent: SendMessage
    ) -> SendAgentMessageResponse:
        mailbox = self._tool_loop().mailbox
        if (repeated := mailbox.repeated(sent.update_id)) is not None:
            return repeated.message
        return mailbox.send(sent)

    @send_message.validator
    def _check_message(self, sent: SendMessage) -> None:
        mailbox = self._tool_loop().mailbox
        if mailbox.repeated(sent.update_id) is None:
            self._require_running()
            mailbox.check_message()

    @override
    @workflow.update(name="stop_after_step")
    def stop_after_step(  # type: ignore[override] # an update of this class
        self, reason: str
    ) -> None:
        self._tool_loop().mailbox.stop_reason = reason

    @stop_after_step.validator
    def _check_stop(self, reason: str) -> None:  # noqa: ARG002
        self._tool_loop()
        self._require_running()

    @override
    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        execution = self._lifecycle.snapshot()
        execution.spec.CopyFrom(self._request.spec)
        messages = self._loop.conversation.messages
        inputs = list(self.pending_inputs("").inputs)
        if self._request.spec.agent.tools:
            room = limits.MAX_VIEW_BYTES - execution.ByteSize()
            inputs = pending_inputs.fit_view(inputs, room // 2)
            room -= sum(each.ByteSize() for each in inputs)
            messages = conversation.fit_view(messages, room)
        execution.status.messages.extend(messages)
        execution.status.pending_inputs.extend(inputs)
        return execution

    @override
    @workflow.query(name="pending_inputs")
    def pending_inputs(self, input_id: str = "") -> PendingInputs:
        if self._has_ended or not isinstance(self._loop, ToolLoop):
            return PendingInputs()
        inputs = self._loop.inputs.in_order()
        if input_id:
            return PendingInputs(inputs=[each for each in inputs if each.id == input_id])
        return PendingInputs(inputs=pending_inputs.fit_view(inputs, limits.MAX_VIEW_BYTES))

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

    @property
    def _has_ended(self) -> bool:
        return self._lifecycle.phase in phases.TERMINAL

    def _tool_loop(self, otherwise: UpdateRefusal = UpdateRefusal.MESSAGES_NOT_TAKEN) -> ToolLoop:
        if not isinstance(self._loop, ToolLoop):
            # Its runs go back to 0.1.0, which knows no updates.
            raise refusal(otherwise, "an agent without tools asks nobody, and takes no messages")
        return self._loop

    def _require_running(self) -> None:
        if self._has_ended:
            raise refusal(UpdateRefusal.NOT_RUNNING, "the execution has ended")
