"""A model call: one activity of the AI worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as ActivityTimeoutError

from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, AgentOutput, Message, Part, Usage
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import configuration, errors, limits, payloads
from stigma.contracts.activities import ModelActivities
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    ConverseResponse,
    ModelCallRequest,
    ModelCallResponse,
)
from stigma_orchestrator.agents.step import (
    AgentFailedError,
    StepContext,
    StepResult,
    model_call_name,
)

# Provider errors are retried for about a quarter of an hour; the deadline may end it sooner.
_RETRY_POLICY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
    maximum_attempts=20,
)


@dataclass(frozen=True)
class ModelStep:
    """Call number `number`, from 1, with the conversation as it stands."""

    context: StepContext
    number: int
    messages: Sequence[Message]

    async def run(self) -> StepResult:
        """Call the model.

        Raises:
            AgentFailedError: it failed for good, or the request is too large.
        """
        request = self._request()
        if size := payloads.json_size_if_over(limits.MAX_PAYLOAD_BYTES, request):
            raise self._failed(
                FailureReason.FAILURE_REASON_TOO_LARGE,
                f"the model call has {size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}",
            )
        try:
            response = await workflow.execute_activity_method(
                ModelActivities.call_model, request, **model_call_options(self.context)
            )
        except ActivityError as error:
            raise model_call_failure(error, self.number) from error
        return _result(response)

    def _request(self) -> ModelCallRequest:
        spec, settings = self.context.spec, self.context.configuration
        request = ModelCallRequest(
            execution_id=self.context.execution_id,
            request_id=spec.request_id,
            agent_id=spec.agent_id,
            step=self.number,
            model=settings.model,
            instructions=configuration.instructions(spec.agent, spec.env),
            messages=self.messages,
            settings=settings.settings,
            output_schema=spec.agent.output_schema,
            price_required=settings.cost_usd > 0,
            partial_text=spec.partial_text,
        )
        if settings.is_scripted:
            request.script.CopyFrom(spec.agent.script)
            request.message = spec.message
            request.input_json = spec.input_json
        return request

    def _failed(self, reason: FailureReason.ValueType, message: str) -> AgentFailedError:
        return AgentFailedError(reason, message, step=model_call_name(self.number))


def model_call_options(context: StepContext) -> dict[str, Any]:
    """Return the options of an activity that calls a model."""
    left = context.deadline - workflow.now()
    return {
        "task_queue": context.queues.ai,
        "start_to_close_timeout": context.configuration.request_timeout,
        "schedule_to_close_timeout": max(left, timedelta(seconds=1)),
        "heartbeat_timeout": limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
        "retry_policy": _RETRY_POLICY,
    }


def model_call_failure(error: ActivityError, number: int) -> BaseException:
    """Return what the failure of a model call is for the agent: its own, or a cancellation."""
    if is_cancelled_exception(error):
        return asyncio.CancelledError()
    reason, message = classify_failure(error)
    return AgentFailedError(reason, message, step=model_call_name(number))


def classify_failure(error: ActivityError) -> tuple[FailureReason.ValueType, str]:
    """Return the reason and the message, one line, of a model call that failed for good."""
    match error.cause:
        case ApplicationError() as cause:
            return errors.reason_of(cause.type or ""), cause.message
        case ActivityTimeoutError() as cause if cause.type == TimeoutType.HEARTBEAT:
            reason = FailureReason.FAILURE_REASON_INTERNAL
            return reason, "the AI worker was lost in every attempt"
        case ActivityTimeoutError() as cause if cause.type == TimeoutType.START_TO_CLOSE:
            reason = FailureReason.FAILURE_REASON_MODEL_TIMEOUT
            return reason, "the model did not answer in time in any attempt"
        case ActivityTimeoutError():
            reason = FailureReason.FAILURE_REASON_DEADLINE
            return reason, "the deadline passed during a model call"
        case cause:
            return (
                FailureReason.FAILURE_REASON_INTERNAL,
                f"model call ended by {type(cause).__name__}",
            )


def _result(response: ModelCallResponse) -> StepResult:
    questions: list[Message] = []
    output = None
    if response.finish_reason != FINISH_REASON_PAUSE:
        if response.output_error:
            questions.append(invalid_output_message(response))
        else:
            text = "".join(part.text for part in response.message.parts)
            output = AgentOutput(text=text, json=response.output_json)
    usage = Usage(
        input_tokens=response.usage.input_tokens,
        output_tokens=response.usage.output_tokens,
        cost_usd=response.usage.cost_usd,
        model_calls=1,
        unpriced_calls=response.usage.unpriced_calls,
    )
    return StepResult([response.message], questions, usage, output, response.output_error)


def invalid_output_message(response: ModelCallResponse | ConverseResponse) -> Message:
    """Return the message that asks a model to give its output again."""
    cut = response.finish_reason == FINISH_REASON_LENGTH
    problem = "The answer was cut off at the token limit." if cut else response.output_error
    text = f"The answer does not satisfy the output schema: {problem} Answer again, in full."
    return Message(role=ROLE_USER, parts=[Part(text=text)])
