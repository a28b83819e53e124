"""The command on a terminal of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import threading


class Terminal:
    """A command on a terminal of its own, and what that has shown."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.text = ""
        self._descriptor = -1
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._code: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._run, args=(arguments, env), daemon=True).start()

    async def until(self, text: str, *, times: int = 1) -> None:
        """Wait until this was shown, so many times."""
        async with asyncio.timeout(60):
            while self.text.count(text) < times:
                self._changed.clear()
                await self._changed.wait()

    def type(self, line: str, *, end: str = "\n") -> None:
        """Type a line."""
        os.write(self._descriptor, f"{line}{end}".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03", end="")

    async def ended(self) -> int:
        """Wait for the command's end; returns its exit code."""
        return await asyncio.wait_for(self._code, 60)

    def _run(self, arguments: tuple[str, ...], env: dict[str, str]) -> None:
        pid, self._descriptor = pty.fork()
        if not pid:
            os.environ.update({**env, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"})
            os.execv(sys.executable, [sys.executable, "-P", "-m", "stigma_cli", *arguments])
        read = b""
        while chunk := _read(self._descriptor):
            read += chunk
            text = read.decode(errors="replace")
            self._loop.call_soon_threadsafe(self._show, text)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._loop.call_soon_threadsafe(self._code.set_result, code)

    def _show(self, text: str) -> None:
        self.text = text
        self._changed.set()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's end of a terminal
        return b""
