"""Addresses of hosts, looked up by the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

_THREADS = 256
"""Hosts looked up at a time: more than the calls that a worker makes by default."""


class NameResolver:
    """Looks hosts up.

    The system's resolver keeps a thread for half a minute or longer where a name server is silent.
    So it has threads of its own, which nothing else waits for, and each host takes one of them at
    most, however many calls wait for it or have given up.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="name-resolution")
        self._lookups: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, host: str, _port: int) -> Sequence[str]:
        """Return the addresses of a host (raises OSError, or UnicodeError for what is no name)."""
        lookup = self._lookups.get(host)
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = loop.run_in_executor(self._threads, _look_up, host)
            self._lookups[host] = lookup
            lookup.add_done_callback(lambda done: self._end(host, done))
        return await asyncio.shield(lookup)

    def _end(self, host: str, lookup: asyncio.Future[Sequence[str]]) -> None:
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()  # those who wait have it


def _look_up(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))
