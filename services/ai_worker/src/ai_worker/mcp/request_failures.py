"""Failures of requests to MCP servers, as the `mcp` package raises them, made failures of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mcp_types
from mcp import MCPError
from pydantic import ValidationError

from ai_worker.mcp.failures import (
    AnsweredError,
    DeniedError,
    LostError,
    NotSentError,
    PagesRequiredError,
    StateRefusedError,
)
from ai_worker.mcp.http_client import failure_in

_MAX_ERROR_CHARACTERS = 4_000
# What the `mcp` package's servers say of a state that they do not take back, and others may.
_STATE_REFUSED = "invalid_request_state"
_OF_STATE = "requeststate"


@contextmanager
def request_failures(lost: Callable[[], str]) -> Iterator[None]:
    """Raise the failures of a request as ours; `lost` says why a connection was."""
    try:
        yield
    except MCPError as error:
        failure = failure_in(error.data)
        if failure is not None:
            raise failure from None
        if error.code == mcp_types.CONNECTION_CLOSED:
            raise LostError(lost()) from None
        if error.code == mcp_types.PARSE_ERROR:  # also the client's own, of an answer
            raise LostError("The MCP server's answer cannot be read.") from None
        if error.code == mcp_types.REQUEST_TIMEOUT:
            raise LostError("The MCP server did not answer in time.") from None
        raise _answered(error) from None
    except ValidationError:
        text = "The MCP server's answer is not one that its version of the protocol has."
        raise AnsweredError(text) from None


def connect_failure(error: BaseException, lost: str) -> NotSentError:
    """Return why a connection was not opened: nothing has been sent on it."""
    if isinstance(error, BaseExceptionGroup):
        return connect_failure(error.exceptions[0], lost)
    if isinstance(error, DeniedError):
        return error
    if isinstance(error, NotSentError | LostError | AnsweredError):
        return NotSentError(str(error))
    try:
        with request_failures(lambda: lost):
            raise error  # noqa: TRY301 - to be read as the failure of a request is
    except (NotSentError, LostError, AnsweredError) as failure:
        return connect_failure(failure, lost)
    except Exception as unknown:  # noqa: BLE001 - only its class leaves this process
        return NotSentError(f"The MCP server cannot be connected to: {type(unknown).__name__}.")


def _answered(error: MCPError) -> AnsweredError:
    words = " ".join(error.message.split())[:_MAX_ERROR_CHARACTERS]
    text = f"The MCP server answered with an error: {words}"
    data: dict[str, Any] = error.data if isinstance(error.data, dict) else {}
    pages = data.get("elicitations")
    answered = AnsweredError(text)
    if error.code == mcp_types.URL_ELICITATION_REQUIRED and isinstance(pages, list):
        answered = PagesRequiredError(text, pages)
    elif error.code == mcp_types.INVALID_PARAMS and (
        data.get("reason") == _STATE_REFUSED or _OF_STATE in words.lower()
    ):
        answered = StateRefusedError(text)
    answered.code = error.code
    return answered
