"""Servers that stand in for Stigma's API, where the API itself cannot be made to fail so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio


@asynccontextmanager
async def serving(
    servicer: object, *add: Callable[[Any, grpc.aio.Server], None]
) -> AsyncIterator[str]:
    """Yield the address of a server on a free port of this machine.

    Args:
        servicer: answers.
        add: generated functions that add the services which it has to a server.
    """
    server = grpc.aio.server()
    for each in add:
        each(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
