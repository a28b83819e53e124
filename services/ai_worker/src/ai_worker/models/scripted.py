"""The offline model: deterministic, without a key, it plays the script of the request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from ai_worker.calls.failures import CallError
from ai_worker.models import partial_text
from ai_worker.models.provider import ModelResult, ToolDefinition
from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    ROLE_USER,
    Message,
    Part,
    ToolCall,
    Usage,
)
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_PROVIDER_UNAVAILABLE,
    ScriptFailure,
    ScriptStep,
    ScriptToolCall,
)
from stigma.contracts.configuration import SCRIPTED_PROVIDER
from stigma.contracts.limits import DEFAULT_REQUEST_TIMEOUT
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    ModelCallRequest,
)

# Three words and the blanks around them.
_CHUNK = re.compile(r"\s*(?:\S+\s*){1,3}|\s+")
_PLACEHOLDER = re.compile(r"\{(message|input|step|results|earlier)\}")


class ScriptedProvider:
    """Call number N plays step N; the last one repeats. Without a script it echoes the message."""

    name = SCRIPTED_PROVIDER
    timeout: timedelta = DEFAULT_REQUEST_TIMEOUT

    def model_label(self, model: str) -> str:  # noqa: ARG002 - every name is the same model
        """Return one label: names after "scripted:" are free."""
        return SCRIPTED_PROVIDER

    def knows_price(self, model: str) -> bool:  # noqa: ARG002
        """Return True: a call costs what the script says, else nothing."""
        return True

    async def call(
        self,
        model: str,  # noqa: ARG002
        request: ModelCallRequest,
        attempt: int,
        tools: Sequence[ToolDefinition],  # noqa: ARG002 - a script may call tools that do not exist
    ) -> ModelResult:
        """Play the step of this call.

        Raises:
            CallError: the step says so.
        """
        step = _step(request)
        if step.HasField("delay"):
            await asyncio.sleep(step.delay.ToTimedelta().total_seconds())
        if step.HasField("failure"):
            _raise_failure(step.failure, request, attempt)
        text = _fill_in(step.text, request)
        is_cut = step.HasField("cut") and _is_played(step.cut.attempts, attempt)
        await _write(text, step.chunk_delay.ToTimedelta(), is_cut=is_cut)
        if is_cut:
            raise CallError(FAILURE_REASON_PROVIDER_UNAVAILABLE, "the answer was cut off")
        parts = [Part(text=text)] if text or not step.tool_calls else []
        return ModelResult(
            message=Message(role=ROLE_MODEL, parts=[*parts, *map(_called, step.tool_calls)]),
            usage=_usage(step, request, text),
            finish_reason=FINISH_REASON_PAUSE if step.pause else FINISH_REASON_STOP,
        )

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def _step(request: ModelCallRequest) -> ScriptStep:
    steps = request.script.steps
    if not steps:
        return ScriptStep(text="{message}")
    return steps[min(max(request.step, 1), len(steps)) - 1]


async def _write(text: str, delay: timedelta, *, is_cut: bool) -> None:
    """Write a text in pieces, or its first half; without a delay, at once."""
    chunks = _CHUNK.findall(text) if delay else [text]
    for chunk in chunks[: (len(chunks) + 1) // 2] if is_cut else chunks:
        partial_text.report(chunk)
        await asyncio.sleep(delay.total_seconds())


def _raise_failure(failure: ScriptFailure, request: ModelCallRequest, attempt: int) -> None:
    size = sum(message.ByteSize() for message in request.messages)
    if not _is_played(failure.attempts, attempt) or size < failure.min_bytes:
        return
    message = " ".join(failure.message.split()) or "the script says so"
    raise CallError(failure.reason or FAILURE_REASON_INTERNAL, message)


def _is_played(attempts: int, attempt: int) -> bool:
    """Return whether what a script plays in the first so many attempts, 0 for all, is played."""
    return not attempts or attempt <= attempts


def _called(call: ScriptToolCall) -> Part:
    asked = ToolCall(name=call.name, arguments_json=call.arguments_json)
    return Part(tool_call=asked, provider_state=call.id.encode())


def _usage(step: ScriptStep, request: ModelCallRequest, text: str) -> Usage:
    if step.HasField("usage"):
        return Usage(
            input_tokens=step.usage.input_tokens,
            output_tokens=step.usage.output_tokens,
            cost_usd=step.usage.cost_usd,
            model_calls=1,
        )
    return Usage(
        input_tokens=sum(len(part.split()) for part in _prompt(request)),
        output_tokens=len(text.split()),
        model_calls=1,
    )


def _fill_in(template: str, request: ModelCallRequest) -> str:
    """Replace placeholders in one pass, so that a message cannot bring its own."""
    values = {
        "message": request.message,
        "input": request.input_json,
        "step": str(request.step),
        "results": _results(request),
        "earlier": _earlier(request),
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _results(request: ModelCallRequest) -> str:
    """Return the results of the last answer's tool calls, a line each."""
    last = request.messages[-1].parts if request.messages else ()
    return "\n".join(part.tool_result.content for part in last if part.HasField("tool_result"))


def _earlier(request: ModelCallRequest) -> str:
    """Return what was said to the agent before its task, a line each."""
    said = [
        "".join(part.text for part in message.parts)
        for message in request.messages
        if message.role == ROLE_USER and not _has_results(message)
    ]
    task = request.message + request.input_json
    newest = max((index for index, text in enumerate(said) if text == task), default=0)
    return "\n".join(said[:newest])


def _has_results(message: Message) -> bool:
    return any(part.HasField("tool_result") for part in message.parts)


def _prompt(request: ModelCallRequest) -> Iterator[str]:
    yield request.instructions
    for message in request.messages:
        for part in message.parts:
            yield part.text or part.thinking or part.tool_result.content
