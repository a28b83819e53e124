"""The activity that calls a model once, for an agent with tools."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.conversations.histories import ConversationNotFoundError, Conversations
from ai_worker.conversations.toolset import Toolset
from ai_worker.models.activity import check_size
from ai_worker.models.caller import ModelCaller
from ai_worker.models.output import Output, OutputSchema
from ai_worker.models.provider import ModelResult
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INTERNAL
from stigma.contracts import configuration, tools
from stigma.contracts.activities import CONVERSE, ConversationActivities
from stigma.contracts.conversation_history import ConversationHistory
from stigma.contracts.errors import reason_name
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
        found = await self._read()
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

    async def _read(self) -> ConversationHistory:
        info = activity.info()
        try:
            return await self._conversations.read(
                info.workflow_id or "", info.workflow_run_id or "", info.activity_id
            )
        except RPCError as error:
            message = f"Temporal did not answer: {error.status.name}"
        except ConversationNotFoundError:
            message = "the history of the run has no event of this activity"
        # Retried: Temporal has it, perhaps not yet where it was read.
        raise ApplicationError(message, type=reason_name(FAILURE_REASON_INTERNAL)) from None


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
        messages=found.messages(request.items, request.step, request.compaction),
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
    )
    check_size(response)
    return response
