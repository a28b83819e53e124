"""Pools of descriptors by content: calls that need the same share one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from zigflow_worker.outgoing.fair_pool import FairPool
from zigflow_worker.rpc.descriptors import build_pool
from zigflow_worker.rpc.targets import misconfigured
from zigflow_worker.threads import run_in_thread

MAX_BYTES = 1024 * 1024
"""Bytes of the descriptors of one service, with all that they import."""
_GROWTH = 54
"""Times that descriptors take in memory what they have as bytes: messages without fields do."""
_ENTRY_BYTES = 10 * 1024
"""Bytes that each pool takes, besides its descriptors."""
_POOL_BYTES = 128 * 1024 * 1024


@dataclass(slots=True)
class _Entry:
    pool: DescriptorPool
    server: str
    size: int
    users: int = 0


class SharedDescriptors:
    """The pools in use, and the latest others for as long as there is room.

    A call whose descriptors do not fit beside those of others waits.
    """

    def __init__(self, size: int = _POOL_BYTES) -> None:
        self._memory = FairPool(size)
        self._entries: dict[Hashable, _Entry] = {}
        """By content."""

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    @asynccontextmanager
    async def use(
        self, key: Hashable, server: str, files: Sequence[FileDescriptorProto] = ()
    ) -> AsyncIterator[DescriptorPool]:
        """Use the descriptors of files, each after those that it imports.

        Args:
            key: stands for their content.
            server: where they come from.
            files: not needed where the key is kept.

        Raises:
            WorkflowError: of type `configuration`: they are wrong, or too large.
        """
        entry = self._entries.get(key) or await self._add(key, server, files)
        del files
        entry.users += 1
        try:
            yield entry.pool
        finally:
            entry.users -= 1
            if not entry.users and self._memory.waiting:
                # Once the call has left all that refers to it.
                asyncio.get_running_loop().call_soon(self._make_room)

    async def _add(
        self, key: Hashable, server: str, files: Sequence[FileDescriptorProto]
    ) -> _Entry:
        size = sum(file.ByteSize() for file in files)
        if size > MAX_BYTES:
            raise misconfigured(f"the descriptors of the service have more than {MAX_BYTES} bytes")
        size = _ENTRY_BYTES + _GROWTH * size
        if not self._memory.try_take(server, size):
            self._make_room()
            await self._memory.take(server, size)
        try:
            pool = await run_in_thread(build_pool, files)
        except BaseException:
            self._memory.give_back(server, size)
            raise
        if key in self._entries:  # others made it meanwhile
            self._memory.give_back(server, size)
        else:
            self._entries[key] = _Entry(pool, server, size)
        return self._entries[key]

    def _make_room(self) -> None:
        """Free what is not in use.

        Classes of messages refer to themselves: without a collection they, and the pool that they
        are of, stay until the next one, which may be hundreds of megabytes later.
        """
        unused = [key for key, entry in self._entries.items() if not entry.users]
        freed = [(entry.server, entry.size) for entry in map(self._entries.pop, unused)]
        if freed:
            gc.collect()
        for server, size in freed:
            self._memory.give_back(server, size)
