"""The activity that calls a model once, for an agent without tools."""

from __future__ import annotations

from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.models.caller import ModelCaller
from ai_worker.models.output import Output, OutputSchema
from ai_worker.models.provider import ModelResult
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_TOO_LARGE
from stigma.contracts.activities import CALL_MODEL, ModelActivities
from stigma.contracts.limits import MAX_PAYLOAD_BYTES
from stigma.contracts.payloads import json_size_if_over
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    ConverseResponse,
    ModelCallRequest,
    ModelCallResponse,
)


class ModelCalls(ModelActivities):
    """Calls models with the conversation that each request holds."""

    def __init__(self, caller: ModelCaller) -> None:
        self._caller = caller

    @override
    @activity.defn(name=CALL_MODEL)
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        try:
            schema = OutputSchema(request.output_schema) if request.output_schema else None
            return await self._caller.call(request, (), lambda result: _response(result, schema))
        except CallError as error:
            # Without the cause: it may quote what was sent.
            raise error.to_application_error() from None


def check_size(response: ModelCallResponse | ConverseResponse) -> None:
    """Check that a response can be carried.

    Raises:
        CallError: it is too large.
    """
    if size := json_size_if_over(MAX_PAYLOAD_BYTES, response):
        raise CallError(
            FAILURE_REASON_TOO_LARGE,
            f"the answer is {size} bytes encoded; the limit is {MAX_PAYLOAD_BYTES}",
        )


def _response(result: ModelResult, schema: OutputSchema | None) -> ModelCallResponse:
    paused = result.finish_reason == FINISH_REASON_PAUSE
    output = schema.check(result.text) if schema and not paused else Output()
    response = ModelCallResponse(
        message=result.message,
        usage=result.usage,
        finish_reason=result.finish_reason,
        output_json=output.json,
        output_error=output.error,
    )
    check_size(response)
    return response
