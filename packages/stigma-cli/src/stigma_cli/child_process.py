"""Command lines of processes that end with the process that started them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


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
