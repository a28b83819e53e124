"""Lines that another process writes for a test."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


async def first_line(fifo: Path) -> str:
    """Wait for a line in a FIFO, and return it without its end.

    A thread that opens a FIFO stays for good where nobody comes to write, and then so does the loop
    that ends it; this can be cancelled.
    """
    reader = asyncio.StreamReader()
    # For reading and writing: to open it waits for nobody.
    with os.fdopen(os.open(fifo, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as file:
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, file)
        try:
            return (await reader.readline()).decode().removesuffix("\n")
        finally:
            transport.close()
