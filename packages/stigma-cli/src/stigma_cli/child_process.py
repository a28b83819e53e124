"""Child processes: command lines that end with the process that started them, and their ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

_POLL_SECONDS = 0.02
_KILLED_SECONDS = 2.0


class ProcessGroup:
    """A process that leads a session of its own, with all that it started.

    A shell script in place of a program does not hand signals on: its child would stay behind.
    """

    def __init__(self, leader: asyncio.subprocess.Process) -> None:
        self._leader = leader

    async def stop(self, grace: timedelta) -> None:
        """Terminate them, and kill them where that takes longer than `grace`."""
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Kill them; return once they are gone."""
        # Without a process that reaps orphans a dead one keeps the group.
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILLED_SECONDS):
                await self._end(signal.SIGKILL)
        await self._leader.wait()

    async def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        await self._leader.wait()
        while self._signal(0):  # noqa: ASYNC110 - no event tells of a group's end
            await asyncio.sleep(_POLL_SECONDS)

    def _signal(self, number: int) -> bool:
        """Signal the group; returns whether there is one."""
        try:
            os.killpg(self._leader.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # macOS, when all of them are dead and none is reaped
            return False
        return True


def exit_text(code: int) -> str:
    """Return how a process ended: "ended with exit code 1", "was killed (SIGKILL)"."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed (signal {-code})"


def python_module(name: str, *arguments: str) -> list[str]:
    """Return a command line of an installed module, as `python -m` runs it.

    `-P`: without it a `queue.py` of the current directory would be imported, and run, instead of
    Python's own.
    """
    return [sys.executable, "-P", "-m", name, *arguments]


def bound_to_parent(command: Sequence[str], *, user: str | None = None) -> list[str]:
    """Return a command line whose process is killed when its starter dies, by SIGKILL included.

    Linux only (elsewhere the process outlives a crash of its starter). Start it from a thread that
    lives as long: the kernel watches the thread. ``user``: the account to run it as, for root.
    """
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), user or "", *command]


# PR_SET_PDEATHSIG survives execve but not a change of user, so it is set after that. A parent
# that died before it was set is noticed by the parent's id.
_BIND = """\
import ctypes, os, pwd, signal, sys
parent, user, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if user:
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
os.execvp(command[0], command)
"""
