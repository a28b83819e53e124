"""The loop of an agent with tools, or in a session: its model's answers, and the calls of each."""

from __future__ import annotations

from temporalio import workflow
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_INPUT_REQUIRED,
    AGENT_EXECUTION_PHASE_PENDING,
    AGENT_EXECUTION_PHASE_RUNNING,
    AgentExecution,
    AgentExecutionPhase,
    AgentOutput,
    Failure,
    Message,
    ToolCall,
    ToolResult,
)
from stigma.agent.v1.agent_pb2 import FailureReason, Tool
from stigma.contracts import conversation, limits, tools, versions
from stigma.contracts.compaction import first_step
from stigma.contracts.pending_inputs import without_details
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    CarriedState,
    OpenMcpCall,
)
from stigma_orchestrator.agents.agent_work import CARRIED_CONTENT, AgentWork
from stigma_orchestrator.agents.batch import Batch
from stigma_orchestrator.agents.call_gate import Gates
from stigma_orchestrator.agents.context_window import ContextWindow
from stigma_orchestrator.agents.ending import completed
from stigma_orchestrator.agents.inputs import PendingInputs
from stigma_orchestrator.agents.ledger import Ledger
from stigma_orchestrator.agents.mailbox import Mailbox
from stigma_orchestrator.agents.mcp_listing import McpListingCheck
from stigma_orchestrator.agents.mcp_step import McpStep
from stigma_orchestrator.agents.model_caller import ModelCaller, correction
from stigma_orchestrator.agents.session_turn import SessionTurn
from stigma_orchestrator.agents.step import AgentFailedError
from stigma_orchestrator.agents.sub_agent_step import SubAgentStep
from stigma_orchestrator.agents.tool_step import ToolStep
from stigma_orchestrator.agents.turns import Turn, Turns
from stigma_orchestrator.agents.unproductive_answers import UnproductiveAnswers
from stigma_orchestrator.executions.outcome import Continue, Outcome


class ToolLoop(AgentWork):
    """The work of an execution whose agent has tools, or that is a turn of a session."""

    def __init__(self, request: AgentWorkflowInput, queues: TaskQueues) -> None:
        super().__init__(request, queues)
        carried = request.carried
        self._tools = tools.by_name(tools.of_input(request))
        self._unproductive = UnproductiveAnswers(carried)
        self.conversation: Turns = Turns(request)
        self.mailbox = Mailbox(carried)
        self.inputs = PendingInputs(
            request.spec.principal,
            self._context.deadline,
            carried.turn.inputs,
            lambda: self._is_input_required,
        )
        self._gates = Gates(
            self._context,
            self.inputs,
            lambda: self.mailbox.stop_reason is not None,
            remembered=dict(carried.remembered),
            rules=dict(carried.turn.rules),
            mcp_calls=_open_mcp_calls(carried),
        )
        self._ledger = Ledger(request, self._budget)
        self._context_window = ContextWindow(request.spec.agent.context, first_step(carried))
        self.session = (
            SessionTurn(request, self._context_window.session)
            if request.HasField("session")
            else None
        )
        self._model = ModelCaller(
            self._context, self.conversation, self._context_window, self._budget
        )
        self._batch: Batch | None = None
        self._untold: list[ToolResult] = []
        self._open: Turn | None = None
        """The turn whose calls are not all answered."""
        self._may_hand_over = True
        if carried.HasField("turn"):
            self._open = _open_turn(carried)
            self.conversation.add(self._open)

    @property
    @override
    def phase(self) -> AgentExecutionPhase.ValueType:
        """PENDING until its turn has come, INPUT_REQUIRED while it waits for people alone."""
        if self.session is not None and not self.session.has_begun:
            return AGENT_EXECUTION_PHASE_PENDING
        if self._is_input_required:
            return AGENT_EXECUTION_PHASE_INPUT_REQUIRED
        return AGENT_EXECUTION_PHASE_RUNNING

    @override
    def describe(self, execution: AgentExecution) -> None:
        super().describe(execution)
        if self.session is not None:
            execution.status.session_turn = self.session.number

    @override
    async def settle(self, outcome: Outcome) -> None:
        if self.session is not None:
            await self.session.end(outcome)

    @override
    def carry(self, carried: CarriedState) -> AgentWorkflowInput:
        following = super().carry(carried)
        state = following.carried
        self._unproductive.carry(state)
        state.remembered.update(self._gates.remembered)
        self.mailbox.carry(state)
        if (turn := self._open) is not None:
            state.turn.step = turn.step
            state.turn.answer.CopyFrom(turn.answer)
            state.turn.results.extend(turn.results.values())
            state.turn.inputs.extend(map(without_details, self.inputs.in_order()))
            state.turn.rules.update(self._gates.rules)
            state.turn.mcp_calls.extend(
                each for id_, each in self._gates.mcp_calls.items() if id_ not in turn.results
            )
        if self.session is not None:
            self.session.carry(following)
        return following

    @override
    def _messages_to_carry(self) -> list[Message]:
        window = self._context_window
        return self.conversation.messages_after_task(self._open, window.compaction, window.summary)

    @property
    def has_tasks(self) -> bool:
        """Whether servers work on calls, or are asked to stop that."""
        return any(each.HasField("task") for each in self._gates.mcp_calls.values())

    @property
    def _is_input_required(self) -> bool:
        return bool(self.inputs) and (self._batch is None or not self._batch.is_active)

    @override
    async def _run(self) -> Outcome | Continue:
        if (never_begins := await self._begin()) is not None:
            return never_begins
        while True:
            if self._open is None and self.mailbox.stop_reason is None:
                self._budget.check()
                self._open = await self._ask()
            if self._open is not None and not await self._make_calls(self._open):
                if self.mailbox.stop_reason is None:
                    return Continue(CARRIED_CONTENT, optional=True)
                self._open = None
            if (end := self._end()) is not None:
                return end
            if workflow.info().is_continue_as_new_suggested() or self.mailbox.is_run_full:
                # What it carries may be too large: then this run goes on, for as long as it can.
                return Continue(CARRIED_CONTENT, optional=not _is_history_full())
            # Between two turns nothing is under way that another version would have to take over.
            if versions.target_changed():
                return Continue(CARRIED_CONTENT, optional=True)

    async def _begin(self) -> Outcome | None:
        """Do what comes before the first step of a run; return the outcome of one that has none."""
        if self.session is not None:
            never_comes = await self.session.wait(lambda: self.mailbox.stop_reason is not None)
            if never_comes is not None:
                return never_comes
        has_mcp_tools = any(tool.HasField("mcp") for tool in self._request.spec.agent.tools)
        if has_mcp_tools and not self._budget.steps:
            await McpListingCheck(self._context, self._request.mcp_tools).run()
        if self.inputs:  # search attributes go on to the next run, a memo does not
            self.inputs.publish_soon()
        return None

    async def _ask(self) -> Turn:
        """Ask the model, with what has come since the turn before."""
        results, self._untold = self._untold, []
        sent = self.mailbox.take_unread()
        return await self._model.ask(results, sent, in_session=self.session is not None)

    async def _make_calls(self, turn: Turn) -> bool:
        """Make the calls of a turn; return False where some of them still wait."""
        calls = [(self._tools[call.name], call) for call in conversation.calls(turn.answer)]
        agents = sum(tool.HasField("agent") for tool, _ in calls)
        steps = [self._step(tool, call, agents) for tool, call in calls]
        batch = self._batch = Batch(steps, self._gates, turn.results, self._budget.usage)
        is_complete = await batch.run(may_hand_over=self._may_hand_over)
        self._untold += batch.untold
        # Where this run goes on all the same, what it carries is too large.
        self._may_hand_over = is_complete
        if batch.problem:
            raise AgentFailedError(
                FailureReason.FAILURE_REASON_TOO_LARGE, batch.problem, step=self._budget.last_step
            )
        if is_complete:
            self._batch = self._open = None
            self._gates.forget_turn()
            self._unproductive.count(turn)
        return is_complete

    def _step(self, tool: Tool, call: ToolCall, agents: int) -> ToolStep:
        context, workflows = self._context, self._request.tool_workflows
        if tool.HasField("agent"):
            return SubAgentStep(context, tool, call, workflows, self._request, self._ledger, agents)
        if tool.HasField("mcp"):
            opened = OpenMcpCall(call_id=call.call_id)
            opened = self._gates.mcp_calls.setdefault(call.call_id, opened)
            return McpStep(context, tool, call, workflows, opened)
        return ToolStep(context, tool, call, workflows)

    def _end(self) -> Outcome | None:
        """Return the end of the work, if the last turn is its end.

        Raises:
            AgentFailedError: what is said in its session is too large to be carried on.
        """
        outcome = self._outcome()
        if outcome is not None and self.session is not None:
            tokens = self._context_window.tokens
            self.session.keep(outcome, self._said(), tokens, step=self._budget.last_step)
        return outcome

    def _said(self) -> list[Message]:
        """Return what the session keeps: no answer whose calls have not all ended."""
        last, unread = self.conversation.last, self.mailbox.take_unread()
        half = last if last is not None and not last.is_whole else None
        window = self._context_window
        said = self.conversation.messages_after_task(half, window.compaction, window.summary)
        task = conversation.task_message(self._request.spec)
        return [task, *said, *map(conversation.sent_message, unread)]

    def _outcome(self) -> Outcome | None:
        turn = self.conversation.last
        output = turn.output if turn is not None else None
        # A message that was taken is read, unless a limit is reached.
        if output is not None and not (self.mailbox.has_unread and self._budget.failure() is None):
            return completed(output, self._budget.last_step)
        if (reason := self.mailbox.stop_reason) is None:
            return None
        failure = Failure(
            reason=FailureReason.FAILURE_REASON_CANCELLED,
            message=reason or "stopped after a step",
            step=self._budget.last_step,
        )
        said = turn.text if turn is not None else ""
        return Outcome(AGENT_EXECUTION_PHASE_CANCELLED, AgentOutput(text=said), failure)


def _open_turn(carried: CarriedState) -> Turn:
    turn = carried.turn
    results = {result.call_id: result for result in turn.results}
    return Turn(turn.step, turn.answer, results, correction(turn.answer))


def _open_mcp_calls(carried: CarriedState) -> dict[str, OpenMcpCall]:
    found = {}
    for each in carried.turn.mcp_calls:
        found[each.call_id] = OpenMcpCall()
        found[each.call_id].CopyFrom(each)
    return found


def _is_history_full() -> bool:
    info = workflow.info()
    return (
        info.get_current_history_size() >= limits.MAX_HISTORY_BYTES
        or info.get_current_history_length() >= limits.MAX_HISTORY_EVENTS
    )
