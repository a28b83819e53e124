"""An HTTP client that stops reading a response at a size known before it starts.

A provider is another party: its response may be endless, small and compressed, or small and made of
millions of values. What passes here in one piece costs less than 0.5 s of CPU and 100 MB. An event
of a stream costs the SDKs some 0.3 ms, and other calls go on between two of them.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx2
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.models.provider_errors import unreadable_answer
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_TOO_LARGE
from stigma.contracts.limits import MAX_PROVIDER_RESPONSE_BYTES

# Values of a JSON body, or of one event: an SDK makes an object of each, up to 50 µs.
_MAX_VALUES = 10_000
# Size and lines of one event of a stream: the SDKs append line to line.
_MAX_EVENT_BYTES = 1024 * 1024
_MAX_EVENT_LINES = 100
# Bytes of an event around its text, which nobody keeps: a token of 4 bytes travels as 120. The
# least that an event counts as: an answer may come one token at a time.
_EVENT_FRAME_BYTES = 160
_MIN_EVENT_BYTES = 64
_MAX_STREAM_BYTES = 8 * MAX_PROVIDER_RESPONSE_BYTES
# Size of an answer in one piece where a stream was asked for: it is parsed, and written anew.
_MAX_WHOLE_BYTES = 2 * 1024 * 1024
_INFLATED_BYTES = 64 * 1024


@dataclass
class Exchange:
    """One HTTP request: `answered` once the response has begun."""

    answered: bool = False
    request_bytes: int = 0


EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")


class BoundedClient(httpx2.AsyncClient):
    """A client whose responses are read up to a limit, decoded bytes counted.

    A CallError that it raises comes out of the SDKs as a cause of their own errors.
    """

    def __init__(self, events: Callable[[bytes], bytes], **options: Any) -> None:
        """`events`: makes a stream of an answer in one piece."""
        super().__init__(**options)
        self._events = events

    @override
    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        # The only encoding whose output is bounded here.
        request.headers["accept-encoding"] = "gzip"
        response = await super().send(request, stream=True, **options)
        if exchange := EXCHANGE.get(None):
            exchange.answered = True
            exchange.request_bytes = len(request.content)
        if stream and _is_event_stream(response):
            return _with_body(response, stream=_EventStream(response))
        body = await _whole_body(response)
        if stream and response.is_success:
            if len(body) > _MAX_WHOLE_BYTES:
                raise _too_large("an answer in one piece", _MAX_WHOLE_BYTES)
            body = self._events(body)
        return _with_body(response, content=body)


class _EventStream(httpx2.AsyncByteStream):
    """The events of a response, a few whole ones at a time."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest, size = b"", 0
        async with aclosing(_decoded(self._response, _MAX_STREAM_BYTES)) as pieces:
            async for piece in pieces:
                text = (rest + piece).replace(b"\r\n", b"\n")
                whole, end, rest = text.rpartition(b"\n\n")
                if len(rest) > _MAX_EVENT_BYTES:
                    raise _too_large("an event", _MAX_EVENT_BYTES)
                if not end:
                    continue
                events = whole.split(b"\n\n")
                _check_events(events)
                size += sum(
                    max(_MIN_EVENT_BYTES, len(event) - _EVENT_FRAME_BYTES) for event in events
                )
                if size > MAX_PROVIDER_RESPONSE_BYTES:
                    raise _too_large("the response", MAX_PROVIDER_RESPONSE_BYTES)
                yield whole + end
                await asyncio.sleep(0)  # other calls go on, also when more is there already
        if rest:
            _check_events([rest])
            yield rest

    @override
    async def aclose(self) -> None:
        await self._response.aclose()


async def _whole_body(response: httpx2.Response) -> bytes:
    try:
        return await _json_body(response)
    except CallError:
        if response.is_error:
            return b""  # its status says enough
        raise
    finally:
        await response.aclose()


async def _json_body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async with aclosing(_decoded(response, MAX_PROVIDER_RESPONSE_BYTES)) as pieces:
        async for piece in pieces:
            body += piece
    _check_values(bytes(body))
    return bytes(body)


async def _decoded(response: httpx2.Response, limit: int) -> AsyncGenerator[bytes]:
    """Yield the decoded body in pieces.

    Raises:
        CallError: it has more than `limit` bytes, before or after decoding, or cannot be decoded.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise unreadable_answer("in an encoding that was not accepted")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    received = decoded = 0
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            received += len(chunk)
            if received > limit:
                raise _too_large("the response", limit)
            for piece in _inflated(chunk, decoder):
                decoded += len(piece)
                if decoded > limit:
                    raise _too_large("the response", limit)
                yield piece
    if decoder is not None and received and not decoder.eof:
        raise unreadable_answer("cut off")


def _inflated(chunk: bytes, decoder: Any | None) -> Iterator[bytes]:
    if decoder is None:
        yield chunk
        return
    while chunk and not decoder.eof:
        try:
            yield decoder.decompress(chunk, _INFLATED_BYTES)
        except zlib.error:
            raise unreadable_answer("not gzip") from None
        chunk = decoder.unconsumed_tail


def _check_events(events: list[bytes]) -> None:
    for event in events:
        if len(event) > _MAX_EVENT_BYTES:
            raise _too_large("an event", _MAX_EVENT_BYTES)
        if event.count(b"\n") > _MAX_EVENT_LINES:
            raise unreadable_answer(f"an event of more than {_MAX_EVENT_LINES} lines")
        _check_values(event)


def _check_values(body: bytes) -> None:
    """Check how many values JSON text has, without reading it."""
    if len(body) <= _MAX_VALUES:
        return
    text = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Of a string each value or key has two quotes; splitting makes an object of each part.
    if text.count(b'"') <= 4 * _MAX_VALUES:
        outside_strings = b"".join(text.split(b'"')[::2])
        if sum(map(outside_strings.count, (b",", b"[", b"{"))) <= _MAX_VALUES:
            return
    raise CallError(
        FAILURE_REASON_TOO_LARGE,
        f"the provider's answer has too many values; the limit is {_MAX_VALUES}",
    )


def _is_event_stream(response: httpx2.Response) -> bool:
    return response.is_success and "text/event-stream" in response.headers.get("content-type", "")


def _with_body(response: httpx2.Response, **body: Any) -> httpx2.Response:
    headers = response.headers.copy()
    for name in ("content-encoding", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    return httpx2.Response(
        response.status_code,
        headers=headers,
        request=response.request,
        extensions=response.extensions,
        **body,
    )


def _too_large(what: str, limit: int) -> CallError:
    return CallError(
        FAILURE_REASON_TOO_LARGE,
        f"the provider's answer is too large: {what} has over {limit} bytes",
    )
