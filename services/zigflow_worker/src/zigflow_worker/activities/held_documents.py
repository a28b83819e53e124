"""The texts of documents that one call holds while others are fetched."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.memory import CallMemory, DocumentsWaitError

_FETCHING_TIME = timedelta(minutes=1)


class HeldDocuments:
    """Fetches the documents of a call, which have a minute together to come.

    Args:
        resources: the call's.
        memory: the call's. Beyond what is not counted, memory for `most` is taken at once; whoever
            has to wait for it holds no large document meanwhile.
        most: bytes that they may have together.
    """

    def __init__(self, resources: CallResources, memory: CallMemory, most: int) -> None:
        self.texts: dict[str, str] = {}
        """Those that `add` fetched, by where they are, in order."""
        self._resources = resources
        self._memory = memory
        self._most = most
        self._size = 0
        self._left = _FETCHING_TIME.total_seconds()

    @property
    def uri(self) -> str:
        """The URI of the first."""
        return self._resources.uri

    @property
    def server(self) -> str:
        """Where the first comes from."""
        return self._resources.server

    @property
    def size(self) -> int:
        """Characters of all documents."""
        return self._size

    async def add(self, uri: str) -> None:
        """Fetch one and keep it (raises WorkflowError)."""
        place, text = await self._fetch(uri)
        # The first is known by where it was found, others by where they were looked for.
        self.texts[uri if self.texts else place] = text

    async def text(self, uri: str) -> str:
        """Return the text of one more (raises WorkflowError)."""
        _, text = await self._fetch(uri)
        return text

    async def _fetch(self, uri: str) -> tuple[str, str]:
        found = await self._in_time(uri)
        server = self.server
        try:
            self._memory.keep_documents(self._size + len(found[1]), self._most, server)
        except DocumentsWaitError:
            del found
            await self._memory.wait_for_documents(self._most, server)
            found = await self._in_time(uri)
        self._size += len(found[1])
        return found

    async def _in_time(self, uri: str) -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._left):
                return await self._resources.fetch(uri)
        except TimeoutError:
            detail = f"the call's documents took longer than {_FETCHING_TIME}"
            raise WorkflowError.of(COMMUNICATION, detail) from None
        finally:
            self._left -= loop.time() - began
