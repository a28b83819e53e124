"""Bodies of responses, read up to a limit that counts what was decoded."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass

from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.memory import CallMemory

ACCEPTED_ENCODING = "gzip"
"""The only encoding whose output is bounded here."""
_PLAIN = "identity"
_INFLATED_BYTES = 64 * 1024
_CHUNK_BYTES = 16
"""Bytes that each chunk takes at least: a million of one byte keep a core busy for ten seconds."""
_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True)
class BodyStart:
    """Facts known of a body before it is read."""

    server: str
    encoding: str = ""
    """Value of Content-Encoding."""
    length: int | None = None
    """Bytes that it will have, before decoding."""


async def read_body(
    chunks: AsyncIterable[bytes], start: BodyStart, limit: int, memory: CallMemory
) -> bytes:
    """Return the decoded body.

    Args:
        chunks: of the body as it was sent.
        start: what is known of it.
        limit: bytes, before and after decoding.
        memory: of the call. It is taken all at once, for the largest body where its length is not
            known; where too much is held already, the body waits.

    Raises:
        WorkflowError: of type `communication`, status 500: it is larger, or cannot be decoded.
    """
    encoding = start.encoding.strip().lower() or _PLAIN
    if (start.length or 0) > limit:
        raise _too_large(limit)
    known = start.length if encoding == _PLAIN else None
    await memory.hold_response(known or 0, start.server)
    body = bytearray()
    async for piece in _decoded(chunks, encoding, limit):
        body += piece
        if len(body) > limit:
            raise _too_large(limit)
        if memory.counts_response(len(body)):
            await memory.hold_response(limit, start.server)
    await memory.hold_response(len(body), start.server)
    return bytes(body)


async def _decoded(chunks: AsyncIterable[bytes], encoding: str, limit: int) -> AsyncIterator[bytes]:
    if encoding not in {_PLAIN, "gzip", "x-gzip"}:
        raise _unreadable("its encoding was not asked for")
    gzip = _Gzip() if "gzip" in encoding else None
    received = 0
    framing = 0
    async for chunk in chunks:
        received += len(chunk)
        framing += _CHUNK_BYTES
        if max(received, framing) > limit:
            raise _too_large(limit)
        for piece in [chunk] if gzip is None else gzip.inflated(chunk):
            yield piece
    if gzip is not None and received and not gzip.is_whole:
        raise _unreadable("it is cut off")


class _Gzip:
    """Decodes gzip, which may have several members (RFC 1952)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    @property
    def is_whole(self) -> bool:
        """Whether the last member has ended."""
        return self._member.eof

    def inflated(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk decodes to, in bounded pieces (raises WorkflowError)."""
        while chunk:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                yield self._member.decompress(chunk, _INFLATED_BYTES)
            except zlib.error:
                raise _unreadable("it is not gzip") from None
            chunk = self._member.unconsumed_tail or self._member.unused_data


def _too_large(limit: int) -> WorkflowError:
    return WorkflowError.of(COMMUNICATION, f"the response is larger than {limit} bytes")


def _unreadable(why: str) -> WorkflowError:
    return WorkflowError.of(COMMUNICATION, f"the response cannot be decoded: {why}")
