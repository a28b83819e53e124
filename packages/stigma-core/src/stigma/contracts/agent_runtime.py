"""Agents that are workflows of their own: what such a workflow and its execution send, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.common import RawValue

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_DECLINED,
    INPUT_RESOLUTION_KIND_EXPIRED,
    InputResolutionKind,
    Usage,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.contracts import json_text, limits, payloads
from stigma.contracts.configuration import Configuration
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput

REFUSED = "REFUSED"
"""Outcome of a request of input that the execution has no room for."""

_CHILD = "-runtime"
_NOTHING = b"binary/null"
_COUNTS = ("input_tokens", "output_tokens", "tool_calls", "model_calls")
_MAX_COUNT = 2**31 - 1


class UnreadableError(ValueError):
    """A signal or result of an agent's workflow cannot be read. Content is not quoted."""


@dataclass(frozen=True)
class Report:
    """A step that an agent's workflow tells of."""

    id: str
    """By which a repetition is known."""
    step: str
    text: str
    usage: Usage


@dataclass(frozen=True)
class InputRequest:
    """A question of an agent's workflow to people."""

    id: str
    """By which a repetition is known, and the answer."""
    question: str
    schema: str
    """Of the answer, as JSON text; empty for any."""
    timeout: timedelta


def child_id(execution_id: str) -> str:
    """Return the id of the workflow that is the agent of an execution."""
    return f"{execution_id}{_CHILD}"


def is_child(execution_id: str, workflow_id: str) -> bool:
    """Return whether a workflow is the agent of an execution."""
    return workflow_id == child_id(execution_id)


def start_argument(request: AgentWorkflowInput, configuration: Configuration) -> RawValue:
    """Return the argument of the workflow; its input is the text that was sent, unchanged.

    Raises:
        ValueError: the input is not JSON.
    """
    spec = request.spec
    if spec.input_json:
        json_text.parse(spec.input_json)
    given = {
        "execution_id": request.execution_id,
        "message": spec.message,
        "env": dict(spec.env),
        "session_id": spec.session_id,
        "limits": {
            "steps": configuration.steps,
            "tool_calls": configuration.tool_calls,
            "tokens": configuration.tokens or None,
            "cost_usd": configuration.cost_usd or None,
        },
        "deadline": request.deadline.ToJsonString(),
    }
    text = json_text.compact(given)
    return RawValue(payloads.json_text_payload(f'{{"input":{spec.input_json or "null"},{text[1:]}'))


def read_report(raw: RawValue) -> Report:
    """Read a report.

    Raises:
        UnreadableError: it is none.
    """
    value = _object(raw, "report")
    return Report(
        id=_id(value, "report"),
        step=payloads.cut_text(_text(value, "step", "report"), limits.MAX_REPORT_STEP_BYTES),
        text=payloads.cut_text(_text(value, "text", "report"), limits.MAX_REPORT_TEXT_BYTES),
        usage=_usage(value.get("usage")),
    )


def read_input_request(raw: RawValue) -> InputRequest:
    """Read a request of input.

    Raises:
        UnreadableError: it is none.
    """
    what = "request of input"
    value = _object(raw, what)
    question, schema = _text(value, "question", what), value.get("schema")
    if not question.strip() or len(question.encode()) > limits.MAX_SENT_MESSAGE_BYTES:
        most = limits.MAX_SENT_MESSAGE_BYTES
        raise UnreadableError(f"question of a {what} must be a text of 1 to {most} bytes")
    text = json_text.compact(schema) if schema else ""
    fits = len(text.encode()) <= limits.MAX_QUESTION_SCHEMA_BYTES
    if schema is not None and not (isinstance(schema, dict) and fits):
        most = limits.MAX_QUESTION_SCHEMA_BYTES
        raise UnreadableError(f"schema of a {what} must be an object of at most {most} bytes")
    seconds = value.get("timeout_seconds")
    longest = limits.MAX_INPUT_TIMEOUT
    timeout = limits.DEFAULT_INPUT_TIMEOUT
    if seconds is not None:
        if not _is_number(seconds) or not 0 < seconds <= longest.total_seconds():
            most_seconds = f"{longest.total_seconds():.0f}"
            problem = f"timeout_seconds of a {what} must be above 0, at most {most_seconds}"
            raise UnreadableError(problem)
        timeout = timedelta(seconds=seconds)
    return InputRequest(_id(value, what), question, text, timeout)


def answer(
    request_id: str, how: InputResolutionKind.ValueType, reply: InputAnswer, *, by: str, reason: str
) -> RawValue:
    """Return what a workflow is told of its request, once it is resolved.

    Args:
        request_id: as the workflow has given it.
        how: ANSWERED, DECLINED or EXPIRED.
        reply: the answer, of the first.
        by: the principal that answered.
        reason: of the second.
    """
    outcomes: dict[int, str] = {
        INPUT_RESOLUTION_KIND_ANSWERED: "ANSWERED",
        INPUT_RESOLUTION_KIND_DECLINED: "DECLINED",
        INPUT_RESOLUTION_KIND_EXPIRED: "EXPIRED",
    }
    value: dict[str, Any] = {"id": request_id, "outcome": outcomes[how]}
    if how == INPUT_RESOLUTION_KIND_ANSWERED:
        value["answer"] = json_text.parse(reply.json) if reply.HasField("json") else reply.text
    value |= {name: text for name, text in (("by", by), ("reason", reason)) if text}
    return RawValue(payloads.json_payload(value))


def refusal(request_id: str, reason: str) -> RawValue:
    """Return what a workflow is told of a request that the execution has no room for."""
    value = {"id": request_id, "outcome": REFUSED, "reason": reason}
    return RawValue(payloads.json_payload(value))


def output_json(raw: RawValue) -> str:
    """Return the result of a workflow as JSON text; "null" for nothing at all.

    Raises:
        UnreadableError: it is in another encoding, or not JSON.
    """
    encoding = raw.payload.metadata.get("encoding", b"")
    if encoding == _NOTHING:
        return "null"
    if encoding != b"json/plain":
        name = encoding.decode(errors="replace")[:80]
        raise UnreadableError(f"the result is encoded {name!r}, which is not json/plain")
    try:
        text = raw.payload.data.decode()
        json_text.parse(text)
    except ValueError:
        raise UnreadableError("the result is not JSON that can be carried") from None
    return text


def _object(raw: RawValue, what: str) -> Mapping[str, Any]:
    try:
        value = json_text.parse(raw.payload.data.decode())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnreadableError(f"a {what} must be one json/plain object")
    return value


def _id(value: Mapping[str, Any], what: str) -> str:
    found = value.get("id")
    most = limits.MAX_RUNTIME_ID_BYTES
    if not isinstance(found, str) or not 0 < len(found.encode()) <= most:
        raise UnreadableError(f"id of a {what} must be a text of 1 to {most} bytes")
    return found


def _text(value: Mapping[str, Any], name: str, what: str) -> str:
    found = value.get(name, "")
    if not isinstance(found, str):
        raise UnreadableError(f"{name} of a {what} must be a text")
    return found


def _usage(value: Any) -> Usage:
    """Read what a step used; of one that names tokens and no cost, the cost is not known."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise UnreadableError("usage of a report must be an object")
    usage = Usage(model_calls=1)
    for name in _COUNTS:
        count: Any = given.get(name)
        if count is not None:
            is_count = isinstance(count, int) and not isinstance(count, bool)
            if not is_count or not 0 <= count <= _MAX_COUNT:
                raise UnreadableError(f"usage.{name} of a report must be an integer from 0")
            setattr(usage, name, count)
    cost = given.get("cost_usd")
    if cost is not None:
        if not _is_number(cost) or cost < 0:
            raise UnreadableError("usage.cost_usd of a report must be a number from 0")
        usage.cost_usd = cost
    elif usage.input_tokens or usage.output_tokens:
        usage.unpriced_calls = max(usage.model_calls, 1)
    return usage


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_COUNT
