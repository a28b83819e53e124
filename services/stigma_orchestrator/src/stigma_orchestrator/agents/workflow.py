"""`AgentWorkflow`: one agent execution, from the first bound token to the last delivery."""

from __future__ import annotations

from datetime import UTC

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from google.protobuf.timestamp_pb2 import Timestamp

    from stigma.agent.v1.agent_execution_pb2 import (
        AgentExecution,
        AgentExecutionPhase,
        AgentOutput,
        Failure,
    )
    from stigma.agent.v1.agent_pb2 import FailureReason
    from stigma.contracts import limits, payloads, versions, workflows
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Bind, CarriedState
    from stigma_orchestrator.agents.loop import AgentFailedError, AgentLoop
    from stigma_orchestrator.executions.lifecycle import Handshake, Outcome


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow(workflows.AgentWorkflow):
    """Runs an agent and delivers its outcome to whoever is bound."""

    @workflow.init
    def __init__(self, request: AgentWorkflowInput) -> None:
        info = workflow.info()
        carried = request.carried
        self._request = request
        self._start_time = Timestamp()
        if carried.HasField("start_time"):
            self._start_time.CopyFrom(carried.start_time)
        else:
            self._start_time.FromDatetime(info.workflow_start_time)
        self._agent = AgentLoop(
            request.execution_id,
            request.spec,
            request.deadline.ToDatetime(UTC),
            TaskQueues.from_orchestrator(info.task_queue),
            carried,
            can_continue=lambda: not self._oversize(),
        )
        self._handshake: Handshake[AgentExecution, AgentOutput] = Handshake(
            request, self._snapshot, start_time=self._start_time, bindings=carried.bindings
        )

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity. One that does not belong here is ignored."""
        self._handshake.bind(bind)

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        """Return the execution as it stands, conversation included."""
        execution = self._snapshot()
        execution.spec.CopyFrom(self._request.spec)
        execution.status.messages.extend(self._agent.messages)
        return execution

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:  # noqa: ARG002 - as in __init__
        """Run the agent, deliver its outcome, and return it."""
        if not await self._handshake.see_through(self._answer(), otherwise=self._too_large):
            workflow.continue_as_new(
                self._carry_over(), initial_versioning_behavior=versions.of_next_run()
            )
        return self._handshake.close()

    async def _answer(self) -> Outcome[AgentOutput] | None:
        """Return what the agent came to; None when it should go on in another run."""
        try:
            output = await self._agent.run()
        except AgentFailedError as failed:
            phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
            if failed.failure.reason == FailureReason.FAILURE_REASON_DEADLINE:
                phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
            return Outcome(phase, failed.output, failed.failure)
        except FailureError as error:
            # Not foreseen, but a caller must hear of it all the same.
            reason = FailureReason.FAILURE_REASON_INTERNAL
            failure = Failure(reason=reason, message=type(error).__name__)
            return Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED, failure=failure)
        if output is None:
            return None
        return Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED, output)

    def _too_large(self) -> Outcome[AgentOutput] | None:
        """Fail what could not continue as new: Temporal would terminate it without a reason."""
        size = self._oversize()
        if not size:
            return None
        failure = Failure(
            reason=FailureReason.FAILURE_REASON_TOO_LARGE,
            message=f"the conversation has {size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}",
        )
        return Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED, failure=failure)

    def _oversize(self) -> int:
        """Return the bytes of what would be carried over when they are too many, else 0."""
        return payloads.json_size_over(limits.MAX_PAYLOAD_BYTES, self._carry_over())

    def _snapshot(self) -> AgentExecution:
        """The execution as it stands, without the task itself and the conversation."""
        execution = AgentExecution()
        execution.spec.agent_id = self._request.spec.agent_id
        execution.status.phase = self._handshake.phase
        execution.status.steps = self._agent.steps
        execution.status.usage.CopyFrom(self._agent.usage)
        self._handshake.describe(execution)
        return execution

    def _carry_over(self) -> AgentWorkflowInput:
        request = AgentWorkflowInput()
        request.CopyFrom(self._request)
        request.carried.CopyFrom(
            CarriedState(
                start_time=self._start_time,
                messages=self._agent.answers(),
                usage=self._agent.usage,
                steps=self._agent.steps,
                bindings=self._handshake.bindings.in_order(),
            )
        )
        return request
