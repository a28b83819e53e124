"""The model-call loop: asks a model until it has an answer or a limit ends it.

Runs inside `AgentWorkflow`. Tool calls and sub-agents are further kinds of step between two model
calls; they belong in `_take`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as ActivityTimeoutError

from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_USER,
    AgentExecutionSpec,
    AgentOutput,
    Failure,
    Message,
    Part,
    Usage,
)
from stigma.agent.v1.agent_pb2 import FailureReason
from stigma.contracts import configuration, errors, limits, payloads, versions
from stigma.contracts.activities import ModelActivities
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_PAUSE,
    CarriedState,
    ModelCallRequest,
    ModelCallResponse,
)

# Provider trouble is retried for about a quarter of an hour; the deadline may end it sooner.
_MODEL_CALL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
    maximum_attempts=20,
)
_EXCERPT_BYTES = 64 * 1024


class AgentFailedError(Exception):
    """The agent has no answer. Carries why, and what little output there is."""

    def __init__(self, failure: Failure, output: AgentOutput | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.output = output


class AgentLoop:
    """One agent at work. What it has so far can be read at any time.

    ``can_continue`` says whether the workflow, as it stands, could continue as new.
    """

    def __init__(
        self,
        execution_id: str,
        spec: AgentExecutionSpec,
        deadline: datetime,
        queues: TaskQueues,
        carried: CarriedState,
        *,
        can_continue: Callable[[], bool],
    ) -> None:
        self._can_continue = can_continue
        self._execution_id = execution_id
        self._spec = spec
        self._deadline = deadline
        self._queues = queues
        self._configuration = configuration.configure(spec.agent, spec.config)
        self._instructions = configuration.instructions(spec.agent, spec.env)
        self._output_error = ""
        self.messages: list[Message] = [_task(spec), *carried.messages]
        self.usage = Usage()
        self.usage.CopyFrom(carried.usage)
        self.steps = carried.steps

    async def run(self) -> AgentOutput | None:
        """Return the answer, or None when the workflow should continue as new first.

        Raises:
            AgentFailedError: a model call failed for good or a limit was reached.
        """
        while True:
            self._check_limits()
            response = await self._call_model()
            output = self._take(response)
            if output is not None:
                return output
            if workflow.info().is_continue_as_new_suggested():
                return None
            # Between two steps nothing is under way that another version would have to take over.
            if versions.has_changed() and self._can_continue():
                return None

    def answers(self) -> list[Message]:
        """Return the conversation without the task, which the request has already."""
        return self.messages[1:]

    async def _call_model(self) -> ModelCallResponse:
        request = self._request()
        if size := payloads.json_size_over(limits.MAX_PAYLOAD_BYTES, request):
            raise self._failed(
                FailureReason.FAILURE_REASON_TOO_LARGE,
                f"the model call has {size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}",
            )
        try:
            return await workflow.execute_activity_method(
                ModelActivities.call_model,
                request,
                task_queue=self._queues.ai,
                start_to_close_timeout=self._configuration.request_timeout,
                schedule_to_close_timeout=max(
                    self._deadline - workflow.now(), timedelta(seconds=1)
                ),
                heartbeat_timeout=limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
                retry_policy=_MODEL_CALL_RETRY,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise self._failed(*why(error)) from error

    def _take(self, response: ModelCallResponse) -> AgentOutput | None:
        """Add an answer to the conversation; return the output once it is complete."""
        self.steps += 1
        self.messages.append(response.message)
        self.usage.input_tokens += response.usage.input_tokens
        self.usage.output_tokens += response.usage.output_tokens
        self.usage.cost_usd += response.usage.cost_usd
        self.usage.model_calls += 1
        self._output_error = response.output_error
        if response.finish_reason == FINISH_REASON_PAUSE:
            return None
        if response.output_error:
            self.messages.append(_correction(response))
            return None
        return self._output(response)

    def _output(self, response: ModelCallResponse) -> AgentOutput:
        text = "".join(part.text for part in response.message.parts)
        output = AgentOutput(text=text, json=response.output_json)
        # Its JSON form is the longest in which it travels: in a failure's details, for instance.
        if size := payloads.json_size_over(limits.MAX_OUTPUT_BYTES, output):
            excerpt = text.encode()[:_EXCERPT_BYTES].decode(errors="ignore")
            raise self._failed(
                FailureReason.FAILURE_REASON_TOO_LARGE,
                f"the output has {size} bytes, the limit is {limits.MAX_OUTPUT_BYTES}",
                AgentOutput(text=excerpt, truncated=True),
            )
        return output

    def _check_limits(self) -> None:
        limit = self._configuration
        tokens = self.usage.input_tokens + self.usage.output_tokens
        if self.steps >= limit.steps:
            if self._output_error:
                raise self._failed(
                    FailureReason.FAILURE_REASON_INVALID_OUTPUT,
                    f"no valid output within {limit.steps} model calls: {self._output_error}",
                )
            raise self._failed(
                FailureReason.FAILURE_REASON_STEP_LIMIT,
                f"no answer within {limit.steps} model calls",
            )
        if limit.tokens and tokens >= limit.tokens:
            raise self._failed(
                FailureReason.FAILURE_REASON_TOKEN_LIMIT,
                f"used {tokens} tokens, the limit is {limit.tokens}",
            )
        if limit.cost_usd and self.usage.cost_usd >= limit.cost_usd:
            raise self._failed(
                FailureReason.FAILURE_REASON_COST_LIMIT,
                f"cost ${self.usage.cost_usd:.4f}, the limit is ${limit.cost_usd:.4f}",
            )

    def _request(self) -> ModelCallRequest:
        request = ModelCallRequest(
            execution_id=self._execution_id,
            request_id=self._spec.request_id,
            agent_id=self._spec.agent_id,
            step=self.steps + 1,
            model=self._configuration.model,
            instructions=self._instructions,
            messages=self.messages,
            settings=self._configuration.settings,
            output_schema=self._spec.agent.output_schema,
        )
        if self._configuration.is_scripted:
            request.script.CopyFrom(self._spec.agent.script)
            request.message = self._spec.message
            request.input_json = self._spec.input_json
        return request

    def _failed(
        self,
        reason: FailureReason.ValueType,
        message: str,
        output: AgentOutput | None = None,
    ) -> AgentFailedError:
        step = f"model_call {self.steps + 1}"
        return AgentFailedError(Failure(reason=reason, message=message, step=step), output)


def _task(spec: AgentExecutionSpec) -> Message:
    parts = [Part(text=text) for text in (spec.message, spec.input_json) if text]
    return Message(role=ROLE_USER, parts=parts)


def _correction(response: ModelCallResponse) -> Message:
    cut = response.finish_reason == FINISH_REASON_LENGTH
    problem = "The answer was cut off at the token limit." if cut else response.output_error
    text = f"The answer does not satisfy the output schema: {problem} Answer again, in full."
    return Message(role=ROLE_USER, parts=[Part(text=text)])


def why(error: ActivityError) -> tuple[FailureReason.ValueType, str]:
    """Return the reason and one line for a model call that failed for good."""
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
