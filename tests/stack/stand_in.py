"""A process with a service's outside: JSON logs, /readyz, SIGTERM. Run as a module by tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys


async def main() -> int:
    """Serve until SIGTERM; exit with STAND_IN_EXIT, or at once when STAND_IN_CRASH is set."""
    if os.environ.get("STAND_IN_CRASH"):
        sys.exit("cannot start: " + os.environ["STAND_IN_CRASH"])
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.start_server(
        _answer_ready, "127.0.0.1", int(os.environ["STIGMA_ADMIN_PORT"])
    )
    log("started", pid=os.getpid())
    async with server:
        await stopped.wait()
    log("stopped", pid=os.getpid())
    return int(os.environ.get("STAND_IN_EXIT", "0"))


def log(event: str, **fields: object) -> None:
    """Write one event to stdout."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def _answer_ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
