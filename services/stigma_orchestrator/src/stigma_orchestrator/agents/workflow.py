"""`AgentWorkflow`: one agent execution, from the first bound token to the last delivery."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
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
    from stigma.internal.v1.session_pb2 import TurnBegins
    from stigma_orchestrator.agents.loop import AgentLoop
    from stigma_orchestrator.agents.refusal import refusal
    from stigma_orchestrator.agents.runtime_work import RuntimeWork
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
        self._loop = _work(request, queues)
        self._lifecycle = ExecutionLifecycle(
            self._loop,
            request,
            AgentExecution,
            carried=request.carried,
            stop_grace=self._stop_grace,
        )

    def _stop_grace(self) -> timedelta:
        """Return how long an execution that was stopped waits for what it runs."""
        agent = self._request.spec.agent
        if agent.HasField("runtime"):
            return limits.RUNTIME_STOP_GRACE
        if any(tool.HasField("agent") for tool in agent.tools):
            return limits.SUB_AGENTS_STOP_GRACE
        has_tasks = isinstance(self._loop, ToolLoop) and self._loop.has_tasks
        return limits.MCP_TASKS_STOP_GRACE if has_tasks else timedelta()

    @override
    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._lifecycle.bind(bind)

    @override
    @workflow.signal(name="report")
    def report(self, report: RawValue) -> None:
        if isinstance(self._loop, RuntimeWork):
            self._loop.report(report)
        else:
            workflow.logger.warning("report_ignored", extra={"reason": "its agent is a model"})

    @override
    @workflow.signal(name="request_input")
    def request_input(self, request: RawValue) -> None:
        if isinstance(self._loop, RuntimeWork):
            self._loop.request_input(request)
        else:
            workflow.logger.warning("request_ignored", extra={"reason": "its agent is a model"})

    @override
    @workflow.update(name="submit_input")
    def submit_input(  # type: ignore[override] # an update of this class
        self, submitted: SubmitInput
    ) -> InputResolution:
        loop = self._asking()
        if (repeated := loop.mailbox.repeated(submitted.update_id)) is not None:
            return repeated.resolution
        resolution = loop.inputs.submit(submitted)
        loop.mailbox.answered(submitted.update_id, resolution)
        return resolution

    @submit_input.validator
    def _check_input(self, submitted: SubmitInput) -> None:
        loop = self._asking()
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
    @workflow.signal(name="turn_begins")
    def turn_begins(self, begins: TurnBegins) -> None:
        if isinstance(self._loop, ToolLoop) and self._loop.session is not None:
            self._loop.session.begin(begins)

    @override
    @workflow.signal(name="interrupt")
    def interrupt(self) -> None:
        if isinstance(self._loop, ToolLoop):
            self._loop.mailbox.stop_reason = "interrupted by the next turn of its session"

    @override
    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        execution = self._lifecycle.snapshot()
        execution.spec.CopyFrom(self._request.spec)
        messages = self._loop.conversation.messages
        inputs = list(self.pending_inputs("").inputs)
        if not isinstance(self._loop, AgentLoop):
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
        if self._has_ended or isinstance(self._loop, AgentLoop):
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

    def _tool_loop(self) -> ToolLoop:
        if isinstance(self._loop, RuntimeWork):
            message = "an agent that is a workflow of its own takes no messages"
            raise refusal(UpdateRefusal.MESSAGES_NOT_TAKEN, message)
        if not isinstance(self._loop, ToolLoop):
            # Its runs go back to 0.1.0, which knows no updates.
            raise refusal(UpdateRefusal.MESSAGES_NOT_TAKEN, _ASKS_NOBODY)
        return self._loop

    def _asking(self) -> ToolLoop | RuntimeWork:
        if isinstance(self._loop, AgentLoop):
            raise refusal(UpdateRefusal.INPUT_NOT_FOUND, _ASKS_NOBODY)
        return self._loop

    def _require_running(self) -> None:
        if self._has_ended:
            raise refusal(UpdateRefusal.NOT_RUNNING, "the execution has ended")


_ASKS_NOBODY = "an agent without tools asks nobody, and takes no messages"


def _work(request: AgentWorkflowInput, queues: TaskQueues) -> AgentLoop | RuntimeWork | ToolLoop:
    if request.spec.agent.HasField("runtime"):
        return RuntimeWork(request, queues)
    # An agent without tools goes on as in 0.1.0, which has to be able to replay it; not in a
    # session, which 0.1.0 does not know.
    if request.spec.agent.tools or request.HasField("session"):
        return ToolLoop(request, queues)
    return AgentLoop(request, queues)
