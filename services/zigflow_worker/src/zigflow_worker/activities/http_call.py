"""Makes HTTP calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit, urlunsplit

from typing_extensions import override

from stigma.contracts import json_text
from zigflow_worker.activities.arguments import mistyped, redirects_followed, uri_of
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.http_outputs import check_status, http_output, output_form
from zigflow_worker.errors import AUTHORIZATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.client import HttpClient, check_header, origin
from zigflow_worker.outgoing.memory import CallMemory
from zigflow_worker.outgoing.messages import Authentication, Headers, HttpSender, OutgoingRequest
from zigflow_worker.threads import run_in_thread

Authenticate: TypeAlias = Callable[[EvaluatedCall, HttpSender], Authentication | None]
"""Returns the authentication of a call, which sends requests of its own by the sender."""

_CONTENT_TYPE = "content-type"


class HttpCall(CallHandler):
    """Makes the calls of `call: http`."""

    def __init__(self, client: HttpClient, authenticate: Authenticate) -> None:
        self._client = client
        self._authenticate = authenticate

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        arguments: Any = call.arguments
        request, form = build_request(arguments), output_form(arguments.get("output"))
        del arguments
        call = call.with_request(len(request.body or b""), origin(request.url))
        sender = confined_sender(self._client, call, request.url, call.memory)
        authentication = self._authenticate(call, self._client)
        response = await send_authenticated(sender, request, authentication)
        check_status(response, redirects=request.follow)
        await call.memory.decode_response(len(response.body))
        return CallOutcome(
            # In a thread: a body of the largest size takes half a second to parse.
            output=await run_in_thread(http_output, response, form, call),
            authorization=None if authentication is None else authentication.authorization,
        )


def confined_sender(
    client: HttpClient, call: EvaluatedCall, url: str, memory: CallMemory | None = None
) -> HttpSender:
    """Return what sends a call's requests: secrets go to no host but where they may, nor on.

    Redirects drop the headers of credentials only: anything else of a request may hold secrets.
    Responses count as held by `memory`.
    """
    start, secrets = origin(url), call.secrets

    def check(hop: str) -> None:
        if secrets.used and origin(hop) != start:
            detail = "a redirect would carry secrets to another origin"
            raise WorkflowError.of(AUTHORIZATION, detail)
        secrets.check_host(urlsplit(hop).hostname or "")

    return client.checking(check, memory)


def build_request(arguments: Mapping[str, Any]) -> OutgoingRequest:
    """Return the request that arguments make.

    Raises:
        WorkflowError: of type `expression` where an expression made something of a wrong type,
            `configuration` where a header cannot be sent.
    """
    headers = _headers(arguments.get("headers"))
    body = _body(arguments.get("body"), headers)
    if body is not None and not _has(headers, _CONTENT_TYPE):
        headers = [*headers, (_CONTENT_TYPE, "application/json")]
    return OutgoingRequest(
        method=_method(arguments.get("method")),
        url=_with_query(uri_of(arguments, "endpoint"), arguments.get("query")),
        headers=headers,
        body=body,
        follow=redirects_followed(arguments),
    )


def _method(value: JSON) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isalpha():
        raise mistyped("method", "the name of a method")
    return value.upper()


def _headers(value: JSON) -> Headers:
    if value is None:
        return []
    if not isinstance(value, dict):
        raise mistyped("headers", "a map")
    headers = [
        (name, _scalar(f"headers.{name}", each)) for name, each in value.items() if each is not None
    ]
    for name, text in headers:
        check_header(name, text)
    return headers


def _body(value: JSON, headers: Headers) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str) and _has(headers, _CONTENT_TYPE):
        return value.encode(errors="replace")
    return json_text.compact(value).encode(errors="replace")


def _has(headers: Headers, name: str) -> bool:
    return any(key.lower() == name for key, _ in headers)


def _with_query(url: str, query: JSON) -> str:
    """Return a URL with more query parameters, after its own; its fragment goes nowhere."""
    if query is not None and not isinstance(query, dict):
        raise mistyped("query", "a map")
    pairs = [
        (name, _scalar(f"query.{name}", each))
        for name, value in (query or {}).items()
        for each in (value if isinstance(value, list) else [value])
        if each is not None
    ]
    try:
        parts = urlsplit(url)
    except ValueError:
        raise mistyped("endpoint", "a URI") from None
    more = urlencode(pairs, errors="replace")
    joined = "&".join(part for part in (parts.query, more) if part)
    return urlunsplit(parts._replace(query=joined, fragment=""))


def _scalar(place: str, value: JSON) -> str:
    if isinstance(value, (dict, list)):
        raise mistyped(place, "a text, a number, true or false")
    return value if isinstance(value, str) else json.dumps(value)
