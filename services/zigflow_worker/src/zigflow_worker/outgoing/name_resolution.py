"""Addresses of hosts, looked up by the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

_THREADS = 256
"""Hosts looked up at a time: more than the calls that a worker makes by default."""


class _Lookup:
    """A host that is looked up, or waits for a thread, and how many wait for it."""

    def __init__(self, job: Future[Sequence[str]]) -> None:
        self.job = job
        self.waiting = 0
        self.found = asyncio.wrap_future(job)


class NameResolver:
    """Looks hosts up.

    The system's resolver keeps a thread for half a minute or longer where a name server is silent.
    So it has threads of its own, which nothing else waits for, and each host takes one of them at
    most, however many calls wait for it or have given up. One that all have given up takes none.

    Args:
        threads: hosts looked up at a time.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="name-resolution")
        self._lookups: dict[str, _Lookup] = {}

    async def addresses(self, host: str, _port: int) -> Sequence[str]:
        """Return the addresses of a host (raises OSError, or UnicodeError for what is no name)."""
        lookup = self._lookups.get(host) or self._begin(host)
        lookup.waiting += 1
        try:
            return await asyncio.shield(lookup.found)
        finally:
            lookup.waiting -= 1
            # One that has a thread goes on, for those who come.
            if not lookup.waiting and lookup.job.cancel():
                del self._lookups[host]

    def _begin(self, host: str) -> _Lookup:
        lookup = self._lookups[host] = _Lookup(self._threads.submit(_look_up, host))
        lookup.found.add_done_callback(lambda _: self._end(host, lookup))
        return lookup

    def _end(self, host: str, lookup: _Lookup) -> None:
        if self._lookups.get(host) is lookup:
            del self._lookups[host]
        if not lookup.found.cancelled():
            lookup.found.exception()  # those who wait have it


def _look_up(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))
