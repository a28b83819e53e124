"""The activity that calls a model once, for an agent with tools."""

from __future__ import annotations

from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.conversations.histories import Conversations
from ai_worker.conversations.toolset import Toolset
from ai_worker.models.activity import check_size
from ai_worker.models.caller import ModelCaller
from ai_worker.models.output import Output, OutputSchema
from ai_worker.models.provider import ModelResult
from stigma.contracts import configuration, tools
from stigma.contracts.activities import CONVERSE, ConversationActivities
from stigma.contracts.conversation_history import ConversationHistory
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    ConverseRequest,
    ConverseResponse,
    ModelCallRequest,
)


class ConversationCalls(ConversationActivities):
    """Calls models with the conversation that the history of the activity's run has."""

    def __init__(self, caller: ModelCaller, conversations: Conversations) -> None:
        self._caller = caller
        self._conversations = conversations

    @override
    @activity.defn(name=CONVERSE)
    async def converse(self, request: ConverseRequest) -> ConverseResponse:
        found = await self._conversations.of_activity()
        try:
            call = _model_call(request, found)
            toolset = Toolset(tools.of_input(found.request), has_output=bool(call.output_schema))
            schema = OutputSchema(call.output_schema) if call.output_schema else None
            return await self._caller.call(
                call,
                toolset.definitions,
                lambda result: _response(call.step, result, toolset, schema),
            )
        except CallError as error:
            # Without the cause: it may quote what was sent.
            raise error.to_application_error() from None


def _model_call(request: ConverseRequest, found: ConversationHistory) -> ModelCallRequest:
    spec = found.request.spec
    settings = configuration.configure(spec.agent, spec.config)
    call = ModelCallRequest(
        execution_id=request.execution_id,
        request_id=spec.request_id,
        agent_id=spec.agent_id,
        step=request.step,
        model=request.model,
        instructions=configuration.instructions(spec.agent, spec.env),
        messages=found.messages(
            request.items, request.step, request.compaction, request.session_compaction
        ),
        settings=request.settings,
        output_schema=spec.agent.output_schema,
        price_required=settings.cost_usd > 0,
        partial_text=request.partial_text,
    )
    if configuration.provider(request.model) == configuration.SCRIPTED_PROVIDER:
        call.script.CopyFrom(spec.agent.script)
        call.message = spec.message
        call.input_json = spec.input_json
    return call


def _response(
    step: int, result: ModelResult, toolset: Toolset, schema: OutputSchema | None
) -> ConverseResponse:
    message, refused, output_call = toolset.check(step, result.message)
    asked = [part.tool_call for part in message.parts if part.HasField("tool_call")]
    text = next((call.arguments_json for call in asked if call.call_id == output_call), result.text)
    is_final = output_call or (not asked and result.finish_reason != FINISH_REASON_PAUSE)
    output = schema.check(text) if schema and is_final else Output()
    response = ConverseResponse(
        message=message,
        usage=result.usage,
        finish_reason=result.finish_reason,
        refused=refused,
        output_json=output.json,
        output_error=output.error,
        output_call_id=output_call,
        context_window=result.context_window,
    )
    check_size(response)
    return response
