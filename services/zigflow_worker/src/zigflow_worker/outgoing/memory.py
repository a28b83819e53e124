"""Memory that the calls of a worker hold together: bodies, documents, results, decoded data.

Decoded data takes up to 30 times as much memory as its JSON. So few calls decode at a time, and
between its request and its response a call holds bytes alone.

A call takes bytes for its request, for documents, for its response and for its result, in this
order, each time all at once, and each from a pool of its own. Who holds some waits only for later
ones, and who holds a result waits for no server. So calls never wait for each other in a circle,
and a server that is slow, or silent, holds up calls of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from stigma.contracts import limits
from zigflow_worker.outgoing.fair_pool import FairPool

UNCOUNTED_BYTES = 128 * 1024
"""Bytes of each call that are not counted, of its documents too: small calls never wait for large
ones."""
_SENT_COPIES = 4
"""Times that a result counts: the SDK copies it from step to step until Temporal has it."""
_DOCUMENT_BYTES = 16 * 1024 * 1024
_LARGE_DECODERS, _SMALL_DECODERS = 2, 4
"""Calls that decode at a time, of more than the bytes above, and of no more. It is CPU work of one
interpreter: more of them at a time are not faster."""
_GROWTH = 2
"""Times that a result may be longer than the body. Rarely it is longer: control characters are six
times as long in JSON."""


class RequestWaitsError(Exception):
    """A request has to wait for memory; nothing of it was sent.

    Whoever made it forgets it, waits by `CallMemory.wait_for_request`, and makes it again: so a
    call that waits holds no more than what it came with.
    """

    def __init__(self, size: int, server: str) -> None:
        super().__init__("the request waits for memory")
        self.size = size
        self.server = server


class DocumentsWaitError(Exception):
    """Documents have to wait for memory; whoever has them is to drop them until it is there."""


class MemoryBudget:
    """The bytes that calls may hold together.

    Args:
        total_bytes: of requests (3/8), responses (3/8) and results (1/4) of all calls, without the
            uncounted ones; one call gets what it needs though it may be more.
    """

    def __init__(self, total_bytes: int = 32 * 1024 * 1024) -> None:
        self.requests = FairPool(total_bytes * 3 // 8)
        self.documents = FairPool(_DOCUMENT_BYTES)
        self.responses = FairPool(total_bytes * 3 // 8)
        self.results = FairPool(total_bytes // 4)
        self._large = asyncio.Semaphore(_LARGE_DECODERS)
        self._small = asyncio.Semaphore(_SMALL_DECODERS)

    def new_call(self) -> CallMemory:
        """Return the share of a call, which holds nothing yet."""
        return CallMemory(self)

    def decoders(self, size: int) -> asyncio.Semaphore:
        """Return the semaphore of calls that decode so many bytes."""
        return self._small if size <= UNCOUNTED_BYTES else self._large


class _Part:
    """Bytes that a call holds of one pool."""

    def __init__(self, pool: FairPool) -> None:
        self.size = 0
        self._pool = pool
        self._owner: Hashable = None

    async def take(self, owner: Hashable, size: int) -> None:
        """Hold bytes in place of what was held; it may wait, and holds none of them meanwhile."""
        if not self._serves(owner, size):
            self.shrink(0)
            await self._pool.take(owner, size)
            self._owner, self.size = owner, size

    def try_take(self, owner: Hashable, size: int) -> bool:
        """Hold bytes in place of what was held, where that needs no waiting; else none."""
        if self._serves(owner, size):
            return True
        self.shrink(0)
        if not self._pool.try_take(owner, size):
            return False
        self._owner, self.size = owner, size
        return True

    def shrink(self, size: int) -> None:
        """Hold no more than so many."""
        unneeded = self.size - size
        if unneeded > 0:
            self.size = size
            self._pool.give_back(self._owner, unneeded)

    def _serves(self, owner: Hashable, size: int) -> bool:
        if size <= self.size and (owner == self._owner or not size):
            self.shrink(size)
            return True
        return not size


class CallMemory:
    """The share of one call, which it holds until `release`."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._request = _Part(budget.requests)
        self._documents = _Part(budget.documents)
        self._response = _Part(budget.responses)
        self._result = _Part(budget.results)
        self._uncounted = UNCOUNTED_BYTES
        """Bytes that the request leaves of those that are not counted."""
        self._waited_for = 0
        self._decoder: asyncio.Semaphore | None = None

    @property
    def counted(self) -> int:
        """Bytes taken from the budget."""
        parts = (self._request, self._documents, self._response, self._result)
        return sum(part.size for part in parts)

    async def decode_request(self, size: int) -> None:
        """Wait until a request of so many bytes may be decoded; until `end_decoding`."""
        await self._decode(size)

    def hold_request(self, size: int, server: str) -> None:
        """Hold a request to a server, of so many bytes, in place of what was held of one.

        Raises:
            RequestWaitsError: too much is held already.
        """
        self.end_decoding()
        self._uncounted = max(0, UNCOUNTED_BYTES - size)
        counted = max(0, size - UNCOUNTED_BYTES)
        if counted > self._waited_for and not self._request.try_take(server, counted):
            raise RequestWaitsError(size, server)

    async def wait_for_request(self, size: int, server: str) -> None:
        """Hold memory for a request of so many bytes that will be made again."""
        self.release()
        self._waited_for = max(0, size - UNCOUNTED_BYTES)
        await self._request.take(server, self._waited_for)

    def keep_documents(self, size: int, most: int, server: str) -> None:
        """Hold documents of so many bytes, while more of them are fetched.

        Beyond what is not counted, memory for `most` is taken: growing, they would wait while they
        hold some.

        Raises:
            DocumentsWaitError: too much is held already.
        """
        is_held = size <= UNCOUNTED_BYTES or self._documents.size > 0
        if not is_held and not self._documents.try_take(server, most):
            raise DocumentsWaitError

    async def wait_for_documents(self, most: int, server: str) -> None:
        """Hold memory for documents of so many bytes that will be fetched again."""
        await self._documents.take(server, most)

    def forget_documents(self) -> None:
        """Hold no documents any more."""
        self._documents.shrink(0)

    def counts_response(self, size: int) -> bool:
        """Return whether a response of so many bytes needs more memory than is held for one."""
        return size > self._uncounted + self._response.size

    async def hold_response(self, size: int, server: str) -> None:
        """Hold a response of a server, of so many bytes, in place of another; it may wait."""
        self.end_decoding()
        await self._response.take(server, max(0, size - self._uncounted))

    def forget_response(self) -> None:
        """Hold no response any more: the call may go on, and wait for earlier parts again."""
        self._response.shrink(0)

    async def decode_response(self, size: int) -> None:
        """Wait until a response of so many bytes may be decoded, and its result encoded and sent.

        Until `end_decoding`.
        """
        self.end_decoding()
        result = min(_GROWTH * size, limits.MAX_PAYLOAD_BYTES)
        held = max(size, _SENT_COPIES * result)
        await self._result.take(self, max(0, held - self._uncounted))
        self._response.shrink(0)
        await self._decode(size)

    def keep_result(self, size: int) -> None:
        """Hold a result of so many bytes in place of the response, which was not smaller."""
        self.end_decoding()
        self._result.shrink(max(0, _SENT_COPIES * size - self._uncounted))

    def end_decoding(self) -> None:
        """Let another one decode: nothing that was decoded is left."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self.end_decoding()
        self._waited_for = 0
        for part in (self._request, self._documents, self._response, self._result):
            part.shrink(0)

    async def _decode(self, size: int) -> None:
        self.end_decoding()
        decoder = self._budget.decoders(size)
        await decoder.acquire()
        self._decoder = decoder
