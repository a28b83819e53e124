"""The loop of an agent with tools: answers of its model, and the calls that each asks for."""

from __future__ import annotations

from temporalio import workflow
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import AgentOutput, Message, ToolResult
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import conversation, limits, tools, versions
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    AgentWorkflowInput,
    CarriedState,
    ConverseResponse,
)
from stigma_orchestrator.agents.agent_work import CARRIED_CONTENT, AgentWork
from stigma_orchestrator.agents.converse_step import ConverseStep
from stigma_orchestrator.agents.ending import completed
from stigma_orchestrator.agents.mcp_listing import McpListingCheck
from stigma_orchestrator.agents.model_step import invalid_output_message
from stigma_orchestrator.agents.step import AgentFailedError
from stigma_orchestrator.agents.tool_step import ToolStep, run_all
from stigma_orchestrator.agents.turns import Turn, Turns
from stigma_orchestrator.executions.outcome import Continue, Outcome


class ToolLoop(AgentWork):
    """The work of an execution whose agent has tools."""

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        super().__init__(request, queues)
        self._tools = tools.by_name(tools.of_input(request))
        self._refused_answers = request.carried.refused_answers
        self._refused_outputs = request.carried.refused_outputs
        self.conversation: Turns = Turns(request)

    @override
    def carry(self, carried: CarriedState) -> AgentWorkflowInput:
        following = super().carry(carried)
        following.carried.refused_answers = self._refused_answers
        following.carried.refused_outputs = self._refused_outputs
        return following

    @override
    async def _run(self) -> Outcome | Continue:
        has_mcp_tools = any(tool.HasField("mcp") for tool in self._request.spec.agent.tools)
        if has_mcp_tools and not self._budget.steps:
            await McpListingCheck(self._context, self._request.mcp_tools).run()
        while True:
            self._budget.check()
            turn = await self._take_turn()
            output = _output(turn)
            if output is not None:
                return completed(output, self._budget.last_step)
            if workflow.info().is_continue_as_new_suggested():
                # What it carries may be too large: then this run goes on, for as long as it can.
                return Continue(CARRIED_CONTENT, optional=not _is_history_full())
            # Between two turns nothing is under way that another version would have to take over.
            if versions.target_changed():
                return Continue(CARRIED_CONTENT, optional=True)

    async def _take_turn(self) -> Turn:
        """Ask the model, and make the calls that it asks for."""
        model, step = self._context.configuration.model, self._budget.steps + 1
        call = ConverseStep(
            self._context, step, self.conversation.items(), self._budget.tokens_left()
        )
        answer = await call.run()
        self._budget.add_answer(model, answer)
        results: dict[str, ToolResult] = {}
        turn = Turn(step, answer, results, _correction(answer))
        self.conversation.add(turn)
        steps = [
            ToolStep(self._context, self._tools[call.name], call, self._request.tool_workflows)
            for call in conversation.calls(answer)
        ]
        self._budget.add_tool_calls(model, len(steps))
        if problem := await run_all(steps, results):
            raise self._failed(FailureReason.FAILURE_REASON_TOO_LARGE, problem)
        self._check(turn)
        return turn

    def _check(self, turn: Turn) -> None:
        """Count answers that lead nowhere.

        Raises:
            AgentFailedError: there were too many in a row.
        """
        answer = turn.answer
        only_refused = bool(answer.refused) and not turn.results and not answer.output_call_id
        self._refused_answers = self._refused_answers + 1 if only_refused else 0
        if self._refused_answers >= limits.MAX_REFUSED_ANSWERS:
            raise self._failed(
                FailureReason.FAILURE_REASON_INVALID_REQUEST,
                f"{self._refused_answers} answers in a row called tools that do not exist, or with "
                "arguments that the tools do not take",
            )
        has_output = bool(answer.output_call_id or answer.output_error)
        if not has_output or conversation.output_accepted(answer, turn.results):
            self._refused_outputs = 0
            return
        self._refused_outputs += 1
        if self._refused_outputs > limits.OUTPUT_RETRIES:
            problem = answer.output_error or "other calls of the same answer did not succeed"
            raise self._failed(
                FailureReason.FAILURE_REASON_INVALID_OUTPUT,
                f"no valid output in {self._refused_outputs} answers in a row: {problem}",
            )

    def _failed(self, reason: FailureReason.ValueType, message: str) -> AgentFailedError:
        return AgentFailedError(reason, message, step=self._budget.last_step)


def _output(turn: Turn) -> AgentOutput | None:
    """Return the agent's output, if this turn has it."""
    paused = turn.answer.finish_reason == FINISH_REASON_PAUSE
    if paused or not conversation.output_accepted(turn.answer, turn.results):
        return None
    text = "".join(part.text for part in turn.answer.message.parts)
    return AgentOutput(text=text, json=turn.answer.output_json)


def _correction(answer: ConverseResponse) -> Message | None:
    """Return the message after an output in words that is not valid; a call has a result."""
    if not answer.output_error or answer.output_call_id:
        return None
    return invalid_output_message(answer)


def _is_history_full() -> bool:
    info = workflow.info()
    return (
        info.get_current_history_size() >= limits.MAX_HISTORY_BYTES
        or info.get_current_history_length() >= limits.MAX_HISTORY_EVENTS
    )
