"""Failures of requests to MCP servers, by what is known of the request's effect.

Messages are one line, for the model and the log: of ours alone, except that an AnsweredError has
the server's own.
"""

from __future__ import annotations

from typing import Any


class NotSentError(Exception):
    """A request that has not happened: it did not reach the server."""


class RefusedError(NotSentError):
    """A request that has not happened, though it was sent: the server did not take it."""


class DeniedError(RefusedError):
    """A request that the server does not take with these credentials, nor the next one."""


class LostError(Exception):
    """A request that was sent and not answered: it may have happened."""


class AnsweredError(Exception):
    """A request that the server answered with an error."""

    code: int = 0
    """Of the error; 0 where the answer is not one that the protocol has."""


class StateRefusedError(AnsweredError):
    """A request that the server answered with: what it is given back is not its own any more."""


class PagesRequiredError(AnsweredError):
    """A request that the server takes once people have opened pages, by version 2025-11-25."""

    def __init__(self, message: str, pages: list[Any]) -> None:
        super().__init__(message)
        self.pages = pages


def unknown_server(name: str) -> str:
    """Return what is wrong with the name of a server that is not configured."""
    return f"no MCP server {name[:100]!r} in STIGMA_PROVIDERS_FILE of the AI worker"
