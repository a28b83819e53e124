"""The gate before a call: what people have to approve or to answer waits there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_CLIENT_TOOL,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
    PendingInputKind,
    ToolResult,
    Usage,
)
from stigma.agent.v1.agent_pb2 import (
    APPROVAL_EXPIRY_FAIL,
    APPROVAL_REQUIREMENT_ALWAYS,
    APPROVAL_REQUIREMENT_REFUSE,
    ApprovalRule,
    FailureReason,
)
from stigma.contracts import approvals, json_text, limits, pending_inputs, tools
from stigma.internal.v1.execution_pb2 import OpenMcpCall, SubmitInput
from stigma_orchestrator.agents.approval_step import ApprovalStep
from stigma_orchestrator.agents.call_input import input_id, new_input
from stigma_orchestrator.agents.inputs import PendingInputs
from stigma_orchestrator.agents.mcp_step import McpStep
from stigma_orchestrator.agents.server_questions import ServerQuestions
from stigma_orchestrator.agents.step import AgentFailedError, StepContext
from stigma_orchestrator.agents.tool_step import ToolStep


@dataclass(frozen=True)
class Gates:
    """State that the gates of an execution's calls share."""

    context: StepContext
    inputs: PendingInputs
    is_stopping: Callable[[], bool]
    """Whether no further call is to be made."""
    remembered: dict[str, int]
    """Rules by whose approvals further calls of a tool need none, by the tool's name."""
    rules: dict[str, int] = field(default_factory=dict)
    """Rules of the calls of the turn under way, by call."""
    mcp_calls: dict[str, OpenMcpCall] = field(default_factory=dict)
    """Calls of MCP servers' tools of that turn, by call."""

    def forget_turn(self) -> None:
        """Forget the calls of a turn that is complete."""
        self.rules.clear()
        self.mcp_calls.clear()


class CallGate:
    """The gate of one call."""

    def __init__(self, step: ToolStep, gates: Gates, usage: Usage) -> None:
        self.step = step
        """The call as it is to be made: an approval may change its arguments."""
        self.is_untold = True
        """Whether the result of a call that was not made is in no event of history."""
        self._gates = gates
        self._usage = usage
        self._pending: PendingInput | None = None
        self._result: ToolResult | None = None
        self._edit = ""

    async def needs_person(self) -> bool:
        """Return whether the call waits for a person; then that is pending from now on."""
        call, kind = self.step.call, pending_inputs.answered_kind(self.step.tool)
        context = self._gates.context
        if isinstance(self.step, McpStep) and self.step.is_open:
            self._edit_to(self.step.opened.edited_json)
            return False
        id_ = input_id(context, call, kind or PENDING_INPUT_KIND_APPROVAL)
        if (carried := self._gates.inputs.find(id_)) is not None:
            self._add_details(carried)
            self._pending = carried
            return True
        rule, required = await ApprovalStep(context, call, self._usage).run()
        self._gates.rules[call.call_id] = rule
        if required == APPROVAL_REQUIREMENT_REFUSE:
            self._result = pending_inputs.of_rule(call)
        elif kind is not None and self._is_schema_large(kind):
            self._result = pending_inputs.of_large_schema(call)
        elif kind is not None:
            self._pending = self._new(id_, kind, pending_inputs.answer_timeout(self.step.tool))
        elif required == APPROVAL_REQUIREMENT_ALWAYS and not self._is_remembered(rule):
            self._pending = self._new_approval(id_, self._rule(rule))
        if self._pending is None:
            return False
        self._gates.inputs.add(self._pending)
        return True

    async def pass_through(self) -> ToolResult | None:
        """Wait for the person, if one is needed; return None where the call is to be made.

        Raises:
            AgentFailedError: nobody approved the call in time, and its rule says to fail then.
        """
        found, call = self._pending, self.step.call
        if found is None:
            return self._result
        submitted = await self._gates.inputs.wait(found)
        if submitted is None:
            self._fail_if_expiry_fails(found)
            return pending_inputs.of_expiry(call, found.kind)
        answer = submitted.request
        match answer.WhichOneof("answer"):
            case "approve":
                self._approve(submitted)
                return None
            case "deny":
                return pending_inputs.of_denial(call, answer.deny.reason)
            case "decline":
                return pending_inputs.of_decline(call, answer.decline.reason)
        self.is_untold = False
        return pending_inputs.of_answer(call, self.step.tool, answer.reply)

    async def ask_people(self, step: McpStep) -> ToolResult | None:
        """Wait for the answers to what a server asks; return None where the call is to go on."""
        rule = self._rule(self._gates.rules.get(step.call.call_id, approvals.NO_RULE))
        questions = ServerQuestions(step, self._gates.inputs, approvals.expires_after(rule))
        if await questions.ask():
            return None
        if step.has_task:
            self.is_untold = False
            return self.told(
                await step.give_up("Nobody answered in time what the task of the call asks.")
            )
        self.is_untold = True
        return pending_inputs.of_expiry(step.call, PENDING_INPUT_KIND_ELICITATION)

    def told(self, result: ToolResult | None) -> ToolResult | None:
        """Return the result of the call as the model is told; None while there is none."""
        if result is None or not self._edit:
            return result
        return pending_inputs.told_of_edit(result, self._edit)

    def _approve(self, submitted: SubmitInput) -> None:
        approval, call = submitted.request.approve, self.step.call
        if approval.remember:
            self._gates.remembered[call.name] = self._gates.rules[call.call_id]
        self._edit_to(approval.arguments_json)

    def _edit_to(self, arguments_json: str) -> None:
        if not arguments_json:
            return
        self._edit = arguments_json
        self.step = replace(self.step, call=pending_inputs.edited(self.step.call, arguments_json))
        if isinstance(self.step, McpStep):
            self.step.opened.edited_json = arguments_json

    def _is_remembered(self, rule: int) -> bool:
        return self._gates.remembered.get(self.step.call.name) == rule

    def _rule(self, index: int) -> ApprovalRule:
        return approvals.rule_at(self._gates.context.spec.agent.approval, index)

    def _fail_if_expiry_fails(self, found: PendingInput) -> None:
        call = self.step.call
        rule = self._rule(self._gates.rules.get(call.call_id, approvals.NO_RULE))
        if found.kind == PENDING_INPUT_KIND_APPROVAL and rule.on_expiry == APPROVAL_EXPIRY_FAIL:
            waited = approvals.expires_after(rule).total_seconds()
            raise AgentFailedError(
                FailureReason.FAILURE_REASON_INPUT_EXPIRED,
                f"nobody approved the call of {call.name} within {waited:g} s",
                step=f"tool_call {call.call_id}",
            )

    def _new_approval(self, id_: str, rule: ApprovalRule) -> PendingInput:
        found = self._new(id_, PENDING_INPUT_KIND_APPROVAL, approvals.expires_after(rule))
        found.approvers.extend(rule.approvers)
        found.not_starter = rule.not_starter
        found.allow_edit = rule.allow_edit
        found.allow_remember = rule.allow_remember
        self._add_details(found)
        return found

    def _add_details(self, found: PendingInput) -> None:
        """Add what the call says: a run that continues another one knows it from the call."""
        call, tool = self.step.call, self.step.tool
        found.arguments_json = call.arguments_json
        if found.kind == PENDING_INPUT_KIND_QUESTION:
            found.question, found.schema = pending_inputs.question_of(call)
        elif found.kind == PENDING_INPUT_KIND_CLIENT_TOOL:
            found.schema = tool.output_schema
        elif found.allow_edit:
            found.schema = json_text.compact(tools.model_schema(tool))

    def _is_schema_large(self, kind: PendingInputKind.ValueType) -> bool:
        if kind != PENDING_INPUT_KIND_QUESTION:
            return False
        _, schema = pending_inputs.question_of(self.step.call)
        return len(schema.encode()) > limits.MAX_QUESTION_SCHEMA_BYTES

    def _new(
        self, id_: str, kind: PendingInputKind.ValueType, expires_after: timedelta
    ) -> PendingInput:
        found = new_input(self._gates.context, self.step.call, id_, kind, expires_after)
        self._add_details(found)
        return found
