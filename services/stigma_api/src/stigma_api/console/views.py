"""Executions as pages show them, without tokens, keys and values of env variables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import (
    AgentExecution,
    CallbackState,
    CallbackStatus,
    Failure,
    Message,
    Part,
    PendingInput,
    Role,
    TemporalCaller,
    ToolOutcome,
    ToolResult,
    Usage,
)
from stigma.contracts import definition_text, phases
from stigma.contracts.errors import reason_name
from stigma.contracts.executions import Execution, Kind, phase_name
from stigma.workflow.v1.workflow_execution_pb2 import EngineRun, WorkflowExecution
from stigma_api.console.pending_views import PendingStepView

MAX_TEXT = 20_000
"""Most characters of one text on a page."""
MAX_MESSAGES = 200
"""Most messages on a page, the newest."""

_ENGINE_RUN_ID = re.compile(r"run-[0-9a-f]{32}")


@dataclass(frozen=True)
class Text:
    """A text, cut if it is too long for a page."""

    text: str
    left_out: int = 0

    @classmethod
    def of(cls, text: str) -> Text:
        """Cut a text."""
        return cls(text[:MAX_TEXT], max(0, len(text) - MAX_TEXT))

    @classmethod
    def of_json(cls, text: str) -> Text:
        """Cut JSON, indented; a text that is no JSON stays as it is."""
        try:
            lines = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            return cls.of(text)
        # Half of a surrogate pair is JSON but no character: shown as JSON writes it.
        return cls.of(lines.encode(errors="backslashreplace").decode())


@dataclass(frozen=True)
class MessagePart:
    """One part of a message: `text`, `thinking`, `tool_call` or `tool_result`."""

    kind: str
    content: Text
    call_id: str = ""
    name: str = ""
    """Of the tool."""
    outcome: str = ""
    """Of a tool's result."""
    truncated: bool = False


@dataclass(frozen=True)
class ConversationMessage:
    """One message of a conversation."""

    number: int
    role: str
    parts: Sequence[MessagePart]


@dataclass(frozen=True)
class ExecutionView:
    """One execution of either kind."""

    id: str
    kind: Kind
    phase: str
    has_ended: bool
    definition: str
    """`name@version`; empty for an inline one."""
    name: str
    principal: str
    session: str
    request_id: str
    labels: Sequence[str]
    start: datetime | None
    end: datetime | None
    deadline: datetime | None
    usage: Usage | None
    usage_by_model: Sequence[tuple[str, Usage]]
    """Of an agent with tools that has called more than one model."""
    steps: int
    model: str
    """Or the workflow that is the agent, and its task queue."""
    is_workflow: bool
    """Whether the agent is one."""
    is_sub_agent: bool
    """Whether another agent has called it."""
    env: Sequence[str]
    """Names only."""
    task: Text
    input: Text
    output: Text
    structured: Text
    truncated: bool
    failure: Failure | None
    reason: str
    error: Text
    callback: CallbackStatus | None
    callback_state: str
    caller: TemporalCaller | None
    parent: str
    """The workflow execution whose document called the agent; empty for other callers."""
    run: EngineRun | None
    pending_inputs: Sequence[PendingInput]
    pending_steps: Sequence[PendingStepView]
    more_pending_steps: int
    conversation: Sequence[ConversationMessage]
    earlier_messages: int

    @property
    def has_turns(self) -> bool:
        """Whether its session is a conversation, and not only a label."""
        return self.kind is Kind.AGENT and not self.is_workflow and not self.is_sub_agent


def view(execution: Execution) -> ExecutionView:
    """Return the view of an execution."""
    spec, status = execution.spec, execution.status
    agent = execution if isinstance(execution, AgentExecution) else AgentExecution()
    workflow = execution if isinstance(execution, WorkflowExecution) else WorkflowExecution()
    definition = agent.spec.agent_id or workflow.spec.workflow_id
    messages = agent.status.messages
    earlier = max(0, len(messages) - MAX_MESSAGES)
    return ExecutionView(
        id=execution.id,
        kind=Kind.of(execution),
        phase=phase_name(execution),
        has_ended=phases.has_ended(execution),
        definition=definition,
        name=definition.partition("@")[0],
        principal=spec.principal,
        session=spec.session_id,
        request_id=spec.request_id,
        labels=[f"{key}={value}" for key, value in sorted(spec.labels.items())],
        start=_datetime(status.start_time),
        end=_datetime(status.end_time),
        deadline=_datetime(status.deadline),
        usage=agent.status.usage if agent.status.HasField("usage") else None,
        usage_by_model=_usage_by_model(agent.status.usage_by_model),
        steps=agent.status.steps,
        model=agent.spec.config.model or definition_text.runs(agent.spec.agent),
        is_workflow=agent.spec.agent.HasField("runtime"),
        is_sub_agent=bool(agent.status.parent),
        env=sorted(agent.spec.env),
        task=Text.of(agent.spec.message),
        input=Text.of_json(spec.input_json),
        output=Text.of(agent.status.output.text),
        structured=Text.of_json(status.output.json),
        truncated=agent.status.output.truncated,
        failure=status.failure if status.HasField("failure") else None,
        reason=reason_name(status.failure.reason),
        error=Text.of_json(workflow.status.error_json),
        callback=status.callback if status.HasField("callback") else None,
        callback_state=_callback_state(status.callback),
        caller=spec.caller if spec.HasField("caller") else None,
        parent=_parent(spec.caller.workflow_id),
        run=workflow.status.run if workflow.status.HasField("run") else None,
        pending_inputs=list(agent.status.pending_inputs),
        pending_steps=[PendingStepView.of(each) for each in status.pending_steps],
        more_pending_steps=status.more_pending_steps,
        conversation=conversation_messages(messages)[earlier:],
        earlier_messages=earlier,
    )


def conversation_messages(messages: Sequence[Message]) -> Sequence[ConversationMessage]:
    """Return the views of a conversation's messages."""
    return [
        ConversationMessage(number, _role(message), [_message_part(part) for part in message.parts])
        for number, message in enumerate(messages, start=1)
    ]


def _usage_by_model(by_model: Mapping[str, Usage]) -> Sequence[tuple[str, Usage]]:
    return sorted(by_model.items()) if len(by_model) > 1 else []


def _parent(caller: str) -> str:
    """Return the execution of an engine's run, whose id `engine.run_id` made."""
    return f"{Kind.WORKFLOW}-{caller.partition('-')[2]}" if _ENGINE_RUN_ID.fullmatch(caller) else ""


def _message_part(part: Part) -> MessagePart:
    match part.WhichOneof("kind"):
        case "tool_call":
            call = part.tool_call
            return MessagePart(
                "tool_call", Text.of_json(call.arguments_json), call.call_id, call.name
            )
        case "tool_result":
            result = part.tool_result
            return MessagePart(
                "tool_result",
                Text.of_json(result.content),
                result.call_id,
                result.name,
                _outcome(result),
                result.truncated,
            )
        case "thinking":
            return MessagePart("thinking", Text.of(part.thinking))
        case kind:
            return MessagePart(kind or "", Text.of(part.text))


def _outcome(result: ToolResult) -> str:
    if result.outcome not in ToolOutcome.values():
        return str(result.outcome)
    return ToolOutcome.Name(result.outcome).removeprefix("TOOL_OUTCOME_")


def _role(message: Message) -> str:
    if message.parts and all(part.HasField("tool_result") for part in message.parts):
        return "tools"
    name = Role.Name(message.role) if message.role in Role.values() else str(message.role)
    return name.removeprefix("ROLE_").lower()


def _callback_state(callback: CallbackStatus) -> str:
    if callback.state not in CallbackState.values():
        return str(callback.state)
    return CallbackState.Name(callback.state).removeprefix("CALLBACK_STATE_")


def _datetime(time: Timestamp) -> datetime | None:
    return time.ToDatetime(tzinfo=UTC) if time.ByteSize() else None
