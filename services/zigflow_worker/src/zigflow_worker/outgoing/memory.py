"""Memory that the calls of a worker hold together: bodies, results, and decoded data.

Decoded data takes up to 30 times as much memory as its JSON. So few calls decode at a time, and
between its request and its response a call holds bytes alone.

No call waits for bytes while it decodes. That keeps these two from waiting for each other: who
decodes always ends, and so does the one call that may borrow.
"""

from __future__ import annotations

import asyncio
from collections import deque

from stigma.contracts import limits

UNCOUNTED_BYTES = 128 * 1024
"""Bytes of each call that are not counted: small calls never wait for large ones."""
_SENT_COPIES = 4
"""Times that a result counts: the SDK copies it from step to step until Temporal has it."""
_MAX_REQUEST_BYTES = 3 * limits.MAX_PAYLOAD_BYTES
_MAX_RESULT_BYTES = _SENT_COPIES * limits.MAX_PAYLOAD_BYTES
_LARGE_DECODERS, _SMALL_DECODERS = 2, 4
"""Calls that decode at a time, of more than the bytes above, and of no more. It is CPU work of one
interpreter: more of them at a time are not faster."""
_GROWTH = 2
"""Times that a result may be longer than the body. Rarely it is longer: control characters are six
times as long in JSON."""


class MemoryBudget:
    """The bytes that calls may hold together.

    Calls take what they need from one pool, and wait in the order in which they came where it does
    not have it. Bytes for one largest call are kept back: one call at a time borrows them, and
    gets all that it still needs. So one can always end, whatever parts the others hold.

    Args:
        total_bytes: of all calls, without the uncounted ones; one call gets what it needs though
            it may be more.
        response_bytes: that one response may have.
    """

    def __init__(
        self,
        total_bytes: int = 32 * 1024 * 1024,
        response_bytes: int = 2 * 1024 * 1024,
    ) -> None:
        largest = _MAX_REQUEST_BYTES + max(response_bytes, _MAX_RESULT_BYTES)
        self._free = max(0, total_bytes - largest)
        self._borrower: CallMemory | None = None
        self._waiting: deque[tuple[CallMemory, int, asyncio.Future[None]]] = deque()
        self._large = asyncio.Semaphore(_LARGE_DECODERS)
        self._small = asyncio.Semaphore(_SMALL_DECODERS)

    def new_call(self) -> CallMemory:
        """Return the share of a call, which holds nothing yet."""
        return CallMemory(self)

    def decoders(self, size: int) -> asyncio.Semaphore:
        """Return the semaphore of calls that decode so many bytes."""
        return self._small if size <= UNCOUNTED_BYTES else self._large

    async def take(self, call: CallMemory, size: int) -> None:
        """Add bytes to what a call holds, as soon as they are there."""
        if (call is self._borrower or not self._waiting) and self._taken(call, size):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, size, waiter))
        try:
            await waiter
        finally:
            self._serve()

    def give_back(self, call: CallMemory, size: int) -> None:
        """Take bytes from what a call holds: those that it borrowed first."""
        call.counted -= size
        paid = min(size, call.borrowed)
        call.borrowed -= paid
        self._free += size - paid
        if call is self._borrower and not call.borrowed:
            self._borrower = None
        self._serve()

    def _taken(self, call: CallMemory, size: int) -> bool:
        if call is not self._borrower and size <= self._free:
            self._free -= size
        elif call is self._borrower or self._borrower is None:
            self._borrower = call
            call.borrowed += size
        else:
            return False
        call.counted += size
        return True

    def _serve(self) -> None:
        """Let those go on who can, in order."""
        while self._waiting:
            call, size, waiter = self._waiting[0]
            if not waiter.done():
                if not self._taken(call, size):
                    return
                waiter.set_result(None)
            self._waiting.popleft()


class CallMemory:
    """The share of one call, which it holds until `release`."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.counted = 0
        """Bytes taken from the budget."""
        self.borrowed = 0
        """Those of them that come from what the budget keeps back."""
        self._budget = budget
        self._request = 0
        self._response = 0
        self._decoder: asyncio.Semaphore | None = None

    async def hold_request(self, size: int) -> None:
        """Hold a request of so many bytes in place of what was held of one; it may wait."""
        self._request = size
        await self._adjust()

    async def hold_response(self, size: int) -> None:
        """Hold a response, or a result, of so many bytes in place of another; it may wait."""
        self._response = size
        await self._adjust()

    async def decode_request(self, size: int) -> None:
        """Wait until a request of so many bytes may be decoded; until `end_decoding`."""
        await self.hold_request(size)
        await self._decode(size)

    async def decode_response(self, size: int) -> None:
        """Wait until a response of so many bytes may be decoded, and its result encoded and sent.

        Until `end_decoding`.
        """
        result = min(_GROWTH * size, limits.MAX_PAYLOAD_BYTES)
        await self.hold_response(max(size, _SENT_COPIES * result))
        await self._decode(size)

    def keep_result(self, size: int) -> None:
        """Hold a result of so many bytes in place of the response, which was not smaller."""
        self.end_decoding()
        self._response = min(self._response, _SENT_COPIES * size)
        self._give_back()

    def end_decoding(self) -> None:
        """Let another one decode: nothing that was decoded is left."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self.end_decoding()
        self._request = self._response = 0
        self._give_back()

    async def _adjust(self) -> None:
        self.end_decoding()
        self._give_back()
        missing = self._wanted() - self.counted
        if missing > 0:
            await self._budget.take(self, missing)

    def _give_back(self) -> None:
        unneeded = self.counted - self._wanted()
        if unneeded > 0:
            self._budget.give_back(self, unneeded)

    def _wanted(self) -> int:
        return max(0, self._request + self._response - UNCOUNTED_BYTES)

    async def _decode(self, size: int) -> None:
        self.end_decoding()
        decoder = self._budget.decoders(size)
        await decoder.acquire()
        self._decoder = decoder
