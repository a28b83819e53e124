"""Errors of pydantic-ai and the providers' SDKs as failures of model calls.

The provider's text is left out everywhere, since it may quote the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pydantic_ai import exceptions as errors

from ai_worker.calls.failures import CallError
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_AUTHENTICATION,
    FAILURE_REASON_CONTENT_FILTERED,
    FAILURE_REASON_CONTEXT_LENGTH,
    FAILURE_REASON_INTERNAL,
    FAILURE_REASON_INVALID_REQUEST,
    FAILURE_REASON_MODEL_TIMEOUT,
    FAILURE_REASON_PROVIDER_UNAVAILABLE,
    FAILURE_REASON_RATE_LIMITED,
    FAILURE_REASON_UNKNOWN_MODEL,
    FailureReason,
)

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
# Where a refusal says that a tool is wrong: "tools.3.custom.input_schema", "tools[3].function".
_PLACE_OF_TOOL = re.compile(r"\btools[.\[](\d{1,3})\b")
_CONTENT_FILTER_CODES = frozenset(("content_filter", "content_policy_violation"))

# First match wins: an error is an instance of its whole ancestry.
_REASONS: tuple[tuple[type[errors.ModelAPIError], FailureReason.ValueType], ...] = (
    (errors.ModelRateLimitError, FAILURE_REASON_RATE_LIMITED),
    (errors.ModelQuotaExceededError, FAILURE_REASON_RATE_LIMITED),
    (errors.ModelContextWindowExceededError, FAILURE_REASON_CONTEXT_LENGTH),
    (errors.ModelAuthenticationError, FAILURE_REASON_AUTHENTICATION),
    (errors.ModelNotFoundError, FAILURE_REASON_UNKNOWN_MODEL),
    (errors.ModelRequestRejectedError, FAILURE_REASON_INVALID_REQUEST),
    (errors.ModelTimeoutError, FAILURE_REASON_MODEL_TIMEOUT),
    (errors.ModelUnavailableError, FAILURE_REASON_PROVIDER_UNAVAILABLE),
    (errors.ModelServerError, FAILURE_REASON_PROVIDER_UNAVAILABLE),
)
# Statuses that no class above stands for.
_TRANSIENT_STATUSES = frozenset((408, 409, 425))

_MESSAGES: dict[FailureReason.ValueType, str] = {
    FAILURE_REASON_RATE_LIMITED: "the provider limits the rate of calls or the quota is used up",
    FAILURE_REASON_CONTEXT_LENGTH: "the conversation does not fit the model's context",
    FAILURE_REASON_AUTHENTICATION: "the provider refused the key",
    FAILURE_REASON_UNKNOWN_MODEL: "the provider does not know the model",
    FAILURE_REASON_INVALID_REQUEST: "the provider refused the request",
    FAILURE_REASON_MODEL_TIMEOUT: "the provider did not answer in time",
    FAILURE_REASON_PROVIDER_UNAVAILABLE: "the provider cannot be reached or is failing",
    FAILURE_REASON_CONTENT_FILTERED: "the provider's content filter stopped the answer",
}


def classify_error(error: Exception, *, answered: bool, tools: Sequence[str] = ()) -> CallError:
    """Return the failure for an error of a call, whatever its class.

    Args:
        error: of the SDK, of pydantic-ai or ours.
        answered: the provider had begun to answer: an error without a class is the answer's.
        tools: names of the tools that the model was offered, in order.
    """
    if refused := _cause_of_ours(error):
        return refused
    if answered and not isinstance(error, errors.ModelAPIError):
        return unreadable_answer()
    if not isinstance(error, errors.ModelAPIError):
        return _other_error(error)
    reason = _reason(error)
    codes = [
        code for code in (error.provider_error_type, error.provider_error_code) if _is_safe(code)
    ]
    status = f"HTTP {error.status_code}" if isinstance(error, errors.ModelHTTPError) else ""
    details = ", ".join(dict.fromkeys(filter(None, [status, *codes])))
    message = f"{_MESSAGES[reason]} ({details})" if details else _MESSAGES[reason]
    refused_tool = _refused_tool(error, tools) if reason == FAILURE_REASON_INVALID_REQUEST else ""
    return CallError(
        reason,
        f"{message}: it names the tool {refused_tool!r}" if refused_tool else message,
        retry_after=error.retry_after,
        final=isinstance(error, errors.ModelQuotaExceededError),
    )


def _reason(error: errors.ModelAPIError) -> FailureReason.ValueType:
    if error.provider_error_code in _CONTENT_FILTER_CODES:
        return FAILURE_REASON_CONTENT_FILTERED
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.ModelHTTPError) and error.status_code not in _TRANSIENT_STATUSES:
        return FAILURE_REASON_INVALID_REQUEST
    return FAILURE_REASON_PROVIDER_UNAVAILABLE


def unreadable_answer(problem: str = "") -> CallError:
    """Return the failure of an answer that is wrong: the next attempt's may be right."""
    message = "the provider's answer cannot be read"
    return CallError(
        FAILURE_REASON_PROVIDER_UNAVAILABLE, f"{message}: {problem}" if problem else message
    )


def _cause_of_ours(error: BaseException | None) -> CallError | None:
    """Return the CallError that SDKs wrapped into errors of their own."""
    while error is not None and not isinstance(error, CallError):
        error = error.__cause__ or error.__context__
    return error


def _other_error(error: Exception) -> CallError:
    """Classify what is no error response: an unreadable response, or a request never sent."""
    if isinstance(error, errors.UnexpectedModelBehavior | json.JSONDecodeError):
        return unreadable_answer()
    if isinstance(error, errors.UserError):  # of settings or schemas that the model does not take
        return CallError(
            FAILURE_REASON_INVALID_REQUEST, "the model does not take a tool, schema or setting"
        )
    return CallError(FAILURE_REASON_INTERNAL, f"unexpected {type(error).__name__}")


def _refused_tool(error: errors.ModelAPIError, tools: Sequence[str]) -> str:
    """Return the one tool that a refusal names, by name or by its place; empty if none or more."""
    said = str(getattr(error, "body", "") or error)
    places = {int(place) for place in _PLACE_OF_TOOL.findall(said)}
    found = {tools[place] for place in places if place < len(tools)} or {
        name for name in tools if re.search(rf"['\"`]{re.escape(name)}['\"`]", said)
    }
    return found.pop() if len(found) == 1 else ""


def _is_safe(code: str | None) -> bool:
    return bool(code and _CODE.fullmatch(code))
