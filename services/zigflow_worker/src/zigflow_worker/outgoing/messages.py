"""HTTP messages between calls and what carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRequest:
    """One HTTP request."""

    method: str
    url: str
    """Absolute, percent-encoded."""
    headers: Headers = ()
    body: bytes | None = None
    follow: bool = False
    """Follow redirects; else a redirect is a response as any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingResponse:
    """One HTTP response, read whole and decoded of its content encoding."""

    status: int
    headers: Headers
    body: bytes
    request: OutgoingRequest
    """The request that it answers: the last one, where redirects were followed."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever the case of its name."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def place_of(request: OutgoingRequest) -> str:
    """Return where a request goes, for errors: no path and no query, which may be secret.

    For instance "GET https://api.example:443".
    """
    url = urlsplit(request.url)
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"{request.method} {url.scheme}://{host}:{port}"


class HttpSender(Protocol):
    """Sends requests within the outgoing policy."""

    async def send(self, request: OutgoingRequest) -> OutgoingResponse:
        """Send a request once; every status is a response.

        Raises:
            WorkflowError: of type `communication`, status 500, where no whole response came; of
                type `authorization`, status 403, where policy forbids the address.
        """


class Authentication(Protocol):
    """Authentication of one call."""

    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        """Return the request with its credentials.

        Raises:
            WorkflowError: of type `authentication`, status 401, where no credentials are given.
        """

    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        """Return the request to send after a 401: with a digest or a new token; None: give up.

        It is asked once a call.
        """

    @property
    def authorization(self) -> dict[str, str]:
        """`scheme` and `parameter` of the last credentials applied, for `$authorization`."""
