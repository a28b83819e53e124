"""The offline model: deterministic, without a key, it plays the script of the request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta

from ai_worker.calls.failures import CallError
from ai_worker.models.provider import ModelResult
from stigma.agent.v1.agent_execution_pb2 import ROLE_MODEL, Message, Part, Usage
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_INTERNAL, ScriptFailure, ScriptStep
from stigma.contracts.configuration import SCRIPTED_PROVIDER
from stigma.contracts.limits import DEFAULT_REQUEST_TIMEOUT
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    ModelCallRequest,
)

_PLACEHOLDER = re.compile(r"\{(message|input|step)\}")


class ScriptedProvider:
    """Call number N plays step N; the last one repeats. Without a script it echoes the message."""

    name = SCRIPTED_PROVIDER
    timeout: timedelta = DEFAULT_REQUEST_TIMEOUT

    def model_label(self, model: str) -> str:  # noqa: ARG002 - every name is the same model
        """Return one label: names after "scripted:" are free."""
        return SCRIPTED_PROVIDER

    async def call(self, model: str, request: ModelCallRequest, attempt: int) -> ModelResult:  # noqa: ARG002
        """Play the step of this call.

        Raises:
            CallError: the step says so.
        """
        step = _step(request)
        if step.HasField("delay"):
            await asyncio.sleep(step.delay.ToTimedelta().total_seconds())
        if step.HasField("failure"):
            _raise_failure(step.failure, attempt)
        text = _fill_in(step.text, request)
        return ModelResult(
            message=Message(role=ROLE_MODEL, parts=[Part(text=text)]),
            usage=Usage(
                input_tokens=sum(len(part.split()) for part in _prompt(request)),
                output_tokens=len(text.split()),
                model_calls=1,
            ),
            finish_reason=FINISH_REASON_PAUSE if step.pause else FINISH_REASON_STOP,
        )

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def _step(request: ModelCallRequest) -> ScriptStep:
    steps = request.script.steps
    if not steps:
        return ScriptStep(text="{message}")
    return steps[min(max(request.step, 1), len(steps)) - 1]


def _raise_failure(failure: ScriptFailure, attempt: int) -> None:
    if failure.attempts and attempt > failure.attempts:
        return
    message = " ".join(failure.message.split()) or "the script says so"
    raise CallError(failure.reason or FAILURE_REASON_INTERNAL, message)


def _fill_in(template: str, request: ModelCallRequest) -> str:
    """Replace placeholders in one pass, so that a message cannot bring its own."""
    values = {
        "message": request.message,
        "input": request.input_json,
        "step": str(request.step),
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _prompt(request: ModelCallRequest) -> Iterator[str]:
    yield request.instructions
    for message in request.messages:
        for part in message.parts:
            yield part.text or part.thinking
