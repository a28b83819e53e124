"""The conversation of an agent with tools, read from the history of its run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtobufMessage
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from stigma.agent.v1.agent_execution_pb2 import Message, ToolCall, ToolResult
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import (
    conversation,
    payloads,
    pending_inputs,
    session_conversation,
    tools,
)
from stigma.contracts.activities import CONVERSE
from stigma.contracts.compaction import compacted, first_step
from stigma.contracts.history_events import accepted_input, first_payload, read_result
from stigma.contracts.workflows import SUBMIT_INPUT, TURN_BEGINS
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Compaction,
    ConversationItem,
    ConverseRequest,
    ConverseResponse,
    SubmitInput,
    SummarizeResponse,
)
from stigma.internal.v1.session_pb2 import SessionCompaction, SessionConversation, TurnBegins

M = TypeVar("M", bound=ProtobufMessage)

_CHILD_STARTED = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED


class ConversationHistory:
    """Answers and results of one run, in the order of its events.

    Events that a workflow task has seen precede the commands that it issued: up to the event that
    scheduled a model call, history is what the workflow knew when it made that call.
    """

    def __init__(self, converter: DataConverter) -> None:
        """Begin before the first event.

        Args:
            converter: decodes payloads and failures.
        """
        self._converter = converter
        self._answers: dict[int, ConverseResponse] = {}
        self._results: dict[str, ToolResult] = {}
        self._calls: dict[str, ToolCall] = {}
        self._tools: dict[str, Tool] = {}
        self._sent: dict[int, list[Message]] = {}
        """Messages sent to the execution, by the step whose model call was the first with them."""
        self._admitted: dict[int, Any] = {}
        """Inputs of updates that a reset has brought along, by event."""
        self._edits: dict[str, str] = {}
        """Arguments that people have changed, by call."""
        self._before: TurnBegins | None = None
        """Conversation of the session before this turn; None without a session."""
        self._steps: dict[int, int] = {}
        """Steps of model calls by the id of the event that scheduled them."""
        self._summarizing: dict[int, int] = {}
        """Steps that summaries are for by the id of the event that scheduled them."""
        self._summaries: dict[int, str] = {}
        """Summaries by the step that they were made for."""
        self._started: dict[int, str] = {}
        """Tool calls by the id of the event that started them."""
        self.request = AgentWorkflowInput()
        """The input of the run."""
        self.last_event_id = 0
        """The last event that was added."""
        self.size = 0
        """Bytes of what is kept, roughly."""

    def result(self, call: str) -> ToolResult | None:
        """Return the result of a call; None while there is none."""
        return self._results.get(call)

    def messages(
        self,
        items: Iterable[ConversationItem],
        step: int,
        compaction: Compaction | None = None,
        session_compaction: SessionCompaction | None = None,
    ) -> list[Message]:
        """Return the conversation before a step.

        That is what was said in the session before, the task, the carried messages, what items
        name, and what was sent before the step.

        Args:
            items: what follows the carried messages.
            step: the step that these messages are for.
            compaction: what of them is left out.
            session_compaction: what of the session is left out.

        Raises:
            KeyError: a step that this run has no answer or no summary of, up to the last event.
        """
        carried = self.request.carried
        first = first_step(carried)
        steps: dict[int, list[Message]] = {}
        last = first
        for item in items:
            if item.HasField("inline"):
                steps.setdefault(last, []).append(item.inline)
                continue
            for each in range(item.steps.first, item.steps.last + 1):
                answered = conversation.messages(self._answers[each], self._results)
                steps[each] = [*self._sent.get(each, ()), *answered]
            last = item.steps.last
        task, sent = conversation.task_message(self.request.spec), self._sent.get(step, ())
        how = compaction or Compaction()
        summary = self._summaries[how.summary_step] if how.summary_step else ""
        left = compacted(carried.messages, first, steps.items(), how, summary)
        before = self._before.conversation if self._before is not None else SessionConversation()
        said = session_conversation.messages(before, session_compaction)
        return [*said, task, *left, *sent]

    async def add(self, event: HistoryEvent) -> None:
        """Take in the next event."""
        self.last_event_id = event.event_id
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "", None)
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                self.request = await self._decode(attributes.input.payloads, AgentWorkflowInput)
                self._tools = dict(tools.by_name(tools.of_input(self.request)))
                self.size += self.request.ByteSize()
                self._carry_on()
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                await self._signaled(attributes)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                await self._activity_scheduled(event.event_id, attributes)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
                self._admitted[event.event_id] = attributes.request.input
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                await self._updated(accepted_input(attributes, self._admitted))
            case EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED:
                self._start(event.event_id, tools.called_by_operation(attributes.nexus_header))
            case _ if event.event_type == _CHILD_STARTED:
                called = tools.called_by_child(self.request.execution_id, attributes.workflow_id)
                self._start(event.event_id, called)
            case _:
                await self._ended(event, attributes)

    def _carry_on(self) -> None:
        """Take in the session, and the turn that the run before has left open."""
        if self.request.carried.HasField("session"):
            self._before = self.request.carried.session
        if not self.request.carried.HasField("turn"):
            return
        turn = self.request.carried.turn
        self._answers[turn.step] = turn.answer
        self._calls.update({call.call_id: call for call in conversation.calls(turn.answer)})
        self._results.update({result.call_id: result for result in turn.results})
        edits = {each.call_id: each.edited_json for each in turn.mcp_calls if each.edited_json}
        self._edits.update(edits)

    async def _signaled(self, attributes: Any) -> None:
        """Take in what was said in the session before: the first time, as the workflow does."""
        if attributes.signal_name == TURN_BEGINS and self._before is None:
            self._before = await self._decode(attributes.input.payloads, TurnBegins)
            self.size += self._before.ByteSize()

    async def _updated(self, update: Any) -> None:
        """Take in what people have answered; what is refused has no event."""
        if update.name != SUBMIT_INPUT:
            return
        request = (await self._decode(update.args.payloads, SubmitInput)).request
        call = self._calls.get(pending_inputs.call_of(request.input_id))
        if call is None or pending_inputs.is_of_server(request.input_id):
            return
        if request.HasField("reply"):
            result = pending_inputs.of_answer(call, self._tools[call.name], request.reply)
            self._results[call.call_id] = result
            self.size += result.ByteSize()
        elif request.approve.arguments_json:
            self._edits[call.call_id] = request.approve.arguments_json

    async def _activity_scheduled(self, event_id: int, attributes: Any) -> None:
        step = tools.model_step(attributes.activity_id)
        if step is not None and attributes.activity_type.name == CONVERSE:
            self._steps[event_id] = step
            request = await self._decode(attributes.input.payloads, ConverseRequest)
            self._results.update({result.call_id: result for result in request.results})
            self._sent[step] = [conversation.sent_message(each) for each in request.sent_messages]
            self.size += request.ByteSize()
        elif (step := tools.summary_step(attributes.activity_id)) is not None:
            self._summarizing[event_id] = step
        else:
            self._start(event_id, tools.called_by_activity(attributes.activity_id))

    def _start(self, event_id: int, call: str) -> None:
        if call in self._calls:
            self._started[event_id] = call

    async def _ended(self, event: HistoryEvent, attributes: Any) -> None:
        for name in ("scheduled_event_id", "initiated_event_id"):
            started = getattr(attributes, name, 0)
            if started in self._steps:
                await self._answered(self._steps[started], event, attributes)
            if started in self._summarizing:
                await self._summarized(self._summarizing[started], event, attributes)
            if started in self._started:
                await self._call_ended(self._calls[self._started[started]], event)

    async def _answered(self, step: int, event: HistoryEvent, attributes: Any) -> None:
        if event.event_type != EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            return
        answer = await self._decode(attributes.result.payloads, ConverseResponse)
        self._answers[step] = answer
        self._calls.update({call.call_id: call for call in conversation.calls(answer)})
        self.size += answer.ByteSize()

    async def _summarized(self, step: int, event: HistoryEvent, attributes: Any) -> None:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            response = await self._decode(attributes.result.payloads, SummarizeResponse)
            self._summaries[step] = response.text
            self.size += response.ByteSize()

    async def _call_ended(self, call: ToolCall, event: HistoryEvent) -> None:
        result = await read_result(self._converter, call, self._tools[call.name], event)
        if result is not None:
            if call.call_id in self._edits:
                result = pending_inputs.told_of_edit(result, self._edits[call.call_id])
            self._results[call.call_id] = result
            self.size += result.ByteSize()

    async def _decode(self, found: Iterable[Payload], message_type: type[M]) -> M:
        payload = await first_payload(self._converter, found)
        return (
            message_type()
            if payload is None
            else payloads.from_raw(RawValue(payload), message_type)
        )
