"""A server's processes, in a group that ends with the worker, also when that is killed.

The kernel tells only a worker's own children of its death, and only on Linux. So a small process
leads the group: it starts the server, hands it the worker's pipes, and once the server or the
worker is gone it kills whatever is left of the group.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ai_worker.mcp.failures import NotSentError


def guarded(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs a server with no environment but the given one.

    Args:
        command: of the server: a name in PATH, or a path.
        arguments: of the server.
        environment: of the server, and of the guard too.

    Raises:
        NotSentError: there is no such command.
    """
    found = shutil.which(command)
    if found is None:
        raise NotSentError("The command of the MCP server is not installed.")
    return [
        *(sys.executable, "-I", "-S", "-c", _GUARD),
        *(str(os.getpid()), ",".join(environment), str(Path(found).absolute())),
        *(command, *arguments),
    ]


# The guard's own ends of the pipes are closed: the server alone holds them, and its end is seen.
# It outlives SIGTERM, which the whole group gets, to see what is left.
_GUARD = """\
import os, select, signal, sys
parent, names, path, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
environment = {name: os.environ[name] for name in names.split(",") if name}
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
for number in signal.SIGCHLD, signal.SIGTERM, signal.SIGINT:
    signal.signal(number, lambda *_: None)
server = os.fork()
if not server:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(path, arguments, environment)
    finally:
        os._exit(127)
os.close(0)
os.close(1)
while os.getppid() == parent and not os.waitpid(server, os.WNOHANG)[0]:
    if select.select([woken], [], [], 1)[0]:
        os.read(woken, 4096)
os.killpg(0, signal.SIGKILL)
"""
