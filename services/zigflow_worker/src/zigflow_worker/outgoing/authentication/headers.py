"""The header that carries credentials, and where it may go."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from zigflow_worker.outgoing.messages import OutgoingRequest, OutgoingResponse

_NAME = "Authorization"
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
    return refused if origin_of(refused.url) == origin_of(request.url) else None


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, host_of(url), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def host_of(url: str) -> str:
    """Return the host of a URL, in lower case."""
    return urlsplit(url).hostname or ""
