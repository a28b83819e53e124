"""The command `stigma`, forked for the shell that runs it; see `write_stigma` in forked.py.

It hands its signals on, and ends as the forked process does.
"""
# ruff: noqa: PTH109 - pathlib takes longer to load than all of this

import contextlib
import json
import os
import signal
import socket
import sys
from types import FrameType

ADDRESS = b""
"""Of the fork server; written in when the program is."""


HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the command with this process's arguments, environment, directory and streams."""
    # Until they can be handed on: the command may be seen to run before that.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    order = {
        "module": "stigma_cli",
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
    }
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(ADDRESS)
    socket.send_fds(server, [json.dumps(order).encode()], [0, 1, 2])
    command = int(server.recv(64))

    def hand_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(command, number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    code = int(server.recv(64))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
