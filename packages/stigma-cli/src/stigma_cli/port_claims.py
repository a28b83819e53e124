"""TCP ports that a command takes before its servers listen there, and who has a taken one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

_LISTEN = "0A"
_NO_STATE = "07"  # of a bound UDP socket


def claim_port(ip: str, port: int, claims: ExitStack) -> bool:
    """Take a port from other commands like this one, as long as `claims` lasts.

    Commands that start at the same time all find a port free on which none listens yet. So each
    binds the UDP port of that number, which our servers do not use: only one can, and loses it
    when it ends in any way.

    Returns:
        False when another command has it.
    """
    holder = claims.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        holder.bind((ip, port))
    except OSError:
        return False
    return True


def taken_text(port: int) -> str:
    """Return that a port is taken, and by what: "port 7233 is taken by temporal (process 12)"."""
    holder = _holder_of(port)
    return f"port {port} is taken by {holder}" if holder else f"port {port} is taken"


def _holder_of(port: int) -> str:
    """Return the process that has a port; "" where it cannot be seen, as outside of Linux."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of another user, or gone
            if not sockets.isdisjoint(_files_of(process)):
                return f"{_program(process)} (process {process.name})"
    return ""


def _files_of(process: Path) -> Iterator[str]:
    """Yield what a process has open."""
    for each in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(each.readlink())


def _inodes(port: int) -> Iterator[str]:
    """Yield the sockets of a port: those that listen, and those that claim it."""
    for table, state in (("tcp", _LISTEN), ("tcp6", _LISTEN), ("udp", _NO_STATE)):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _program(process: Path) -> str:
    """Return a program's name, a Python program's by its script or module."""
    words = (process / "cmdline").read_text(errors="replace").split("\0")
    if not Path(words[0]).name.startswith("python"):
        return Path(words[0]).name
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(next((each for each in words[1:] if each[:1] not in {"", "-"}), words[0])).name
