"""The activity that has a model summarise old steps of a conversation."""

from __future__ import annotations

from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.conversations.histories import Conversations
from ai_worker.conversations.toolset import Toolset
from ai_worker.models.caller import ModelCaller
from ai_worker.models.provider import ModelResult
from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INVALID_OUTPUT
from stigma.contracts import configuration, limits, payloads, tools
from stigma.contracts.activities import SUMMARIZE, SummaryActivities
from stigma.contracts.conversation_history import ConversationHistory
from stigma.internal.v1.execution_pb2 import (
    ModelCallRequest,
    SummarizeRequest,
    SummarizeResponse,
)

REQUEST = (
    "The conversation up to here will be replaced by a summary. Write that summary now, for "
    "yourself: what was asked, what was done and found, with every name, number and id that may be "
    "needed, what failed, and what is still to be done. Call no tool. Answer with the summary "
    "alone."
)
"""Asks a model for a summary; the end of the conversation that it is sent."""


class Summaries(SummaryActivities):
    """Has models summarise what the history of the activity's run has."""

    def __init__(self, caller: ModelCaller, conversations: Conversations) -> None:
        self._caller = caller
        self._conversations = conversations

    @override
    @activity.defn(name=SUMMARIZE)
    async def summarize(self, request: SummarizeRequest) -> SummarizeResponse:
        found = await self._conversations.of_activity()
        try:
            call = _model_call(request, found)
            # A conversation with calls is refused by some providers, unless it has the tools.
            toolset = Toolset(tools.of_input(found.request), has_output=False)
            return await self._caller.call(call, toolset.definitions, _response)
        except CallError as error:
            # Without the cause: it may quote what was sent.
            raise error.to_application_error() from None


def _model_call(request: SummarizeRequest, found: ConversationHistory) -> ModelCallRequest:
    spec = found.request.spec
    told = found.messages(request.items, request.step, request.compaction)
    settings = configuration.configure(spec.agent, spec.config)
    return ModelCallRequest(
        execution_id=request.execution_id,
        request_id=spec.request_id,
        agent_id=spec.agent_id,
        step=request.step,
        model=request.model,
        # As of the agent's own calls, so that what providers have in their caches is the same.
        instructions=configuration.instructions(spec.agent, spec.env),
        messages=[*told, Message(role=ROLE_USER, parts=[Part(text=REQUEST)])],
        settings=request.settings,
        price_required=settings.cost_usd > 0,
        # The scripted model has no script here: it says this.
        message=f"Summary of {len(told)} messages, up to step {request.before - 1}.",
    )


def _response(result: ModelResult) -> SummarizeResponse:
    text = result.text.strip()
    if not text:
        raise CallError(FAILURE_REASON_INVALID_OUTPUT, "the model wrote no summary")
    kept = payloads.cut_text(text, limits.MAX_SUMMARY_BYTES)
    return SummarizeResponse(text=kept, usage=result.usage)
