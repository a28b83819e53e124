"""Questions that MCP servers ask before they go on with a call, and the responses to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mcp_types import ElicitResult
from pydantic import ValidationError

from ai_worker.calls.failures import CallError
from ai_worker.mcp.failures import NotSentError
from ai_worker.models.output import OutputSchema
from stigma.contracts import json_text, limits, tool_results
from stigma.internal.v1.execution_pb2 import CallMcpToolResponse, McpQuestion

_PEOPLE = "elicitation/create"
_DECLINED = {
    "sampling/createMessage": "an answer of a model (sampling)",
    "roots/list": "folders (roots)",
}


class QuestionError(Exception):
    """A question that people cannot be asked; the message is a sentence for the model."""


def read_questions(result: Mapping[str, Any]) -> CallMcpToolResponse:
    """Return what a server asks instead of a result, and what it wants back.

    Args:
        result: of type `input_required`, as the server sent it.

    Raises:
        QuestionError: people cannot be asked that.
    """
    response = CallMcpToolResponse(asked=questions_of(result.get("inputRequests")))
    state = result.get("requestState")
    if isinstance(state, str):
        if len(state.encode(errors="replace")) > limits.MAX_MCP_STATE_BYTES:
            most = limits.MAX_MCP_STATE_BYTES
            raise QuestionError(f"The tool asks for input, with a state of more than {most} bytes.")
        response.request_state = json_text.replace_surrogates(state)
    if not response.asked and not response.HasField("request_state"):
        raise QuestionError("The tool asks for input, and does not say for which.")
    return response


def questions_of(requests: Any) -> list[McpQuestion]:
    """Return the questions of a map of requests, which may be absent.

    Raises:
        QuestionError: people cannot be asked that.
    """
    if requests is None:
        return []
    if not isinstance(requests, dict) or len(requests) > limits.MAX_MCP_QUESTIONS:
        most = limits.MAX_MCP_QUESTIONS
        raise QuestionError(f"The tool asks for more than {most} inputs at once.")
    found = list(_questions(requests))
    if sum(each.ByteSize() for each in found) > limits.MAX_MCP_QUESTIONS_BYTES:
        most = limits.MAX_MCP_QUESTIONS_BYTES
        raise QuestionError(f"The tool asks for input with questions of more than {most} bytes.")
    return found


def responses_to(answered: Sequence[McpQuestion]) -> dict[str, Any] | None:
    """Return the responses as the protocol has them; None for none.

    Raises:
        NotSentError: one of them has values that the protocol cannot carry.
    """
    try:
        return {
            each.key: ElicitResult.model_validate(json_text.parse(each.response_json))
            for each in answered
        } or None
    except ValidationError:
        text = "The answer has values that the protocol cannot carry: it takes no nested ones."
        raise NotSentError(text) from None


def _questions(requests: Mapping[str, Any]) -> Iterator[McpQuestion]:
    for key, request in requests.items():
        method = request.get("method") if isinstance(request, dict) else None
        if (wanted := _DECLINED.get(str(method))) is not None:
            raise QuestionError(f"The tool asks for {wanted}, which it is not given.")
        params = request.get("params") if isinstance(request, dict) else None
        if method != _PEOPLE or not isinstance(params, dict):
            raise QuestionError("The tool asks for input that people cannot be asked for.")
        yield _question(key, params)


def _question(key: str, params: Mapping[str, Any]) -> McpQuestion:
    text = json_text.replace_surrogates(str(params.get("message") or ""))
    message, _ = tool_results.cut(text, limits.MAX_MCP_QUESTION_BYTES)
    question = McpQuestion(key=json_text.replace_surrogates(key), message=message)
    if params.get("mode") == "url":
        question.url = _checked_url(params.get("url"))
    else:
        question.schema = _checked_schema(params.get("requestedSchema"))
    return question


def _checked_url(url: Any) -> str:
    try:
        is_page = isinstance(url, str) and url.isprintable() and bool(urlsplit(url).hostname)
        is_page = is_page and urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        is_page = False
    if not is_page or len(url.encode()) > limits.MAX_URL_BYTES:
        most = limits.MAX_URL_BYTES
        raise QuestionError(
            f"The tool asks to open an address that is not one of the web, of at most {most} bytes."
        )
    return str(url)


def _checked_schema(schema: Any) -> str:
    text = json_text.compact(schema) if isinstance(schema, dict) else ""
    try:
        if not text or len(text.encode()) > limits.MAX_QUESTION_SCHEMA_BYTES:
            raise QuestionError("The tool asks for a form whose schema cannot be used.")
        OutputSchema(text)
    except (CallError, UnicodeEncodeError):
        raise QuestionError("The tool asks for a form whose schema cannot be used.") from None
    return text
