"""Records a command in a terminal, as asciicast v2: `python record.py FILE COMMAND…`.

What is written can be played with asciinema, and read by people: one header, then one line an
output, with its second. Nothing is installed for it.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

COLUMNS, ROWS = 110, 32
_CHUNK = 65536


def record(command: Sequence[str], file: Path) -> int:
    """Run a command in a terminal of its own, and write what it shows; returns its exit code."""
    started = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        try:
            os.execvp(command[0], [*command])  # noqa: S606 - a list, without a shell
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\r\n".encode())
            os._exit(127)
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": ROWS,
        "timestamp": int(time.time()),
        "title": " ".join(command),
        "env": {"TERM": "xterm-256color"},
    }
    with file.open("w", encoding="utf-8") as cast:
        cast.write(f"{json.dumps(header)}\n")
        for text in _shown(terminal):
            event = [round(time.monotonic() - started, 3), "o", text]
            cast.write(f"{json.dumps(event, ensure_ascii=False)}\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _shown(terminal: int) -> Iterator[str]:
    # A character may be cut in two by the end of a read.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        try:
            data = os.read(terminal, _CHUNK)
        except OSError:  # how Linux tells that the last process has left the terminal
            return
        if not data:
            return
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        if text := decoder.decode(data):
            yield text


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python record.py FILE COMMAND…")
    sys.exit(record(sys.argv[2:], Path(sys.argv[1])))
