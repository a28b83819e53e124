"""The header that carries credentials, and where it may go."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from zigflow_worker.outgoing.client import origin
from zigflow_worker.outgoing.messages import OutgoingRequest, OutgoingResponse

_NAME = "Authorization"


def with_authorization(request: OutgoingRequest, authorization: dict[str, str]) -> OutgoingRequest:
    """Return a request with credentials, in place of any that it has."""
    kept = [(key, value) for key, value in request.headers if key.lower() != _NAME.lower()]
    value = f"{authorization['scheme']} {authorization['parameter']}"
    return replace(request, headers=[*kept, (_NAME, value)])


def request_refused(request: OutgoingRequest, response: OutgoingResponse) -> OutgoingRequest | None:
    """Return the request that a 401 answers; None where it went to another origin.

    Another origin, to which a redirect led, gets no credentials.
    """
    refused = response.request
    return refused if origin(refused.url) == origin(request.url) else None


def host_of(url: str) -> str:
    """Return the host of a URL (raises WorkflowError)."""
    return urlsplit(origin(url)).hostname or ""
