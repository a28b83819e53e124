"""The work of an agent that is a workflow of its own: it runs that, counts and asks for it.

It never continues as new: a successor would have to find the child again.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.common import RawValue
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    AGENT_EXECUTION_PHASE_RUNNING,
    ROLE_MODEL,
    AgentExecutionPhase,
    Message,
    Part,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import agent_runtime, limits
from stigma.contracts.agent_runtime import UnreadableError
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, CarriedState
from stigma_orchestrator.agents.agent_work import AgentWork
from stigma_orchestrator.agents.conversation import Conversation
from stigma_orchestrator.agents.inputs import PendingInputs
from stigma_orchestrator.agents.mailbox import Mailbox
from stigma_orchestrator.agents.runtime_inputs import RuntimeInputs
from stigma_orchestrator.agents.runtime_run import STEP, RuntimeRun
from stigma_orchestrator.agents.step import AgentFailedError
from stigma_orchestrator.executions.outcome import Outcome


class RuntimeWork(AgentWork):
    """The work of an execution whose agent is a workflow of its own."""

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        super().__init__(request, queues)
        self.conversation: Conversation = Conversation(request.spec)
        self.mailbox = Mailbox(CarriedState())
        self.inputs = PendingInputs(
            request.spec.principal, self._context.deadline, (), lambda: bool(self.inputs)
        )
        self._requests = RuntimeInputs(self._context, self.inputs)
        self._reports: set[str] = set()
        self._signals = 0
        self._problem: AgentFailedError | None = None
        """Ends the work, whatever the workflow does."""
        self._has_ended = False

    @property
    @override
    def phase(self) -> AgentExecutionPhase.ValueType:
        """INPUT_REQUIRED while anything is waited for from people: more is not known."""
        return (
            AGENT_EXECUTION_PHASE_INPUT_REQUIRED if self.inputs else AGENT_EXECUTION_PHASE_RUNNING
        )

    def report(self, raw: RawValue) -> None:
        """Count a step that the workflow tells of; a repetition changes nothing."""
        try:
            found = agent_runtime.read_report(raw)
        except UnreadableError as error:
            self._end(self._failed(FailureReason.FAILURE_REASON_INVALID_REQUEST, str(error)))
            return
        self._count_signal()
        if found.id in self._reports:
            return
        self._reports.add(found.id)
        self._budget.add_report(found.usage)
        said = Message(role=ROLE_MODEL, parts=[Part(text=found.text)])
        self.conversation.messages.append(said)
        if (overrun := self._budget.overrun(found.step or STEP)) is not None:
            self._end(overrun)

    def request_input(self, raw: RawValue) -> None:
        """Ask people for the workflow; a repetition changes nothing."""
        try:
            found = agent_runtime.read_input_request(raw)
        except UnreadableError as error:
            self._end(self._failed(FailureReason.FAILURE_REASON_INVALID_REQUEST, str(error)))
            return
        self._count_signal()
        if not self._has_ended:
            self._requests.ask(found)

    @override
    async def _run(self) -> Outcome:
        run = asyncio.create_task(RuntimeRun(self._context, self._request).run())
        try:
            await workflow.wait_condition(lambda: run.done() or self._problem is not None)
        except asyncio.CancelledError:
            self._stop(run)
            await asyncio.gather(run, return_exceptions=True)
            raise
        self._stop(run)
        if self._problem is not None:
            raise self._problem
        return run.result()

    def _stop(self, run: asyncio.Task[Outcome]) -> None:
        self._has_ended = True
        run.cancel()
        run.add_done_callback(_retrieve)
        self._requests.stop()

    def _count_signal(self) -> None:
        self._signals += 1
        if self._signals > limits.MAX_RUNTIME_SIGNALS:
            message = f"the workflow sent more than {limits.MAX_RUNTIME_SIGNALS} signals"
            self._end(self._failed(FailureReason.FAILURE_REASON_TOO_LARGE, message))
        size = workflow.info().get_current_history_size()
        if size > limits.MAX_HISTORY_BYTES:
            message = f"what the workflow told of its steps fills the history ({size} bytes)"
            self._end(self._failed(FailureReason.FAILURE_REASON_TOO_LARGE, message))

    def _end(self, problem: AgentFailedError) -> None:
        self._problem = self._problem or problem

    def _failed(self, reason: FailureReason.ValueType, message: str) -> AgentFailedError:
        return AgentFailedError(reason, message, step=STEP)


def _retrieve(run: asyncio.Task[Outcome]) -> None:
    """Take note of an end that nobody waits for any more."""
    if not run.cancelled():
        run.exception()
