"""Our programs, started by a process that has other people's packages loaded.

A service or command spends more on importing them than on starting; forked, it finds them there.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stigma_cli.child_process import bound_to_parent

_PROGRAM = Path(__file__).with_name("fork_server.py")
_CLIENT = Path(__file__).with_name("forked_stigma.py")
_START_SECONDS = 180.0
"""The server loads all libraries first: slowly, where others have the cores."""
# What interpreters and libraries read at their start, which is the server's; the path is heeded.
_HEEDED = {"PYTHONPATH", "PYTHONSAFEPATH"}
_READ_AT_START = ("PYTHON", "OTEL_", "LD_", "LC_", "LANG", "TZ", "GRPC_", "MALLOC_", "FAKETIME")


class ForkedProcess:
    """A process that another one forked and waits for; used as `subprocess.Popen` is."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        if self.returncode is None:
            try:
                self._connection.settimeout(timeout)
                self.returncode = int(self._connection.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True)
class Streams:
    """Descriptors of a program's standard streams."""

    stdin: int
    stdout: int
    stderr: int


def start_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    streams: Streams,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program, in a session of its own; it ends with this process."""
    return subprocess.Popen(
        bound_to_parent(command),
        cwd=directory,
        env=environment,
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=streams.stderr,
        start_new_session=True,
    )


def start_module(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: Streams,
    directory: Path | None = None,
) -> ForkedProcess | subprocess.Popen[bytes]:
    """Start `python -m MODULE` likewise, forked where that is the same.

    ``directory``: the current one where none is given.
    """
    if sys.platform != "linux" or not _as_here(environment):
        command = [sys.executable, "-m", module, *arguments]
        return start_command(command, environment, streams, directory)
    order = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "directory": str(directory or Path.cwd()),
    }
    with ExitStack() as unless_started:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        unless_started.enter_context(connection)
        connection.settimeout(_START_SECONDS)
        connection.connect(_server_address())
        descriptors = [streams.stdin, streams.stdout, streams.stderr]
        socket.send_fds(connection, [json.dumps(order).encode()], descriptors)
        process = ForkedProcess(connection, int(connection.recv(64)))
        unless_started.pop_all()
    return process


def write_stigma(directory: Path) -> None:
    """Write the program `stigma`, which has itself forked, into a directory for PATH."""
    program = directory / "stigma"
    directory.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux":
        program.symlink_to(Path(sys.executable).with_name("stigma"))
        return
    client = _CLIENT.read_text(encoding="utf-8")
    client = client.replace('ADDRESS = b""', f"ADDRESS = {_server_address()!r}", 1)
    program.write_text(f"#!{sys.executable} -ISE\n{client}", encoding="utf-8")
    program.chmod(0o755)


def _as_here(environment: Mapping[str, str]) -> bool:
    names = [name for name in {*environment, *os.environ} if name.startswith(_READ_AT_START)]
    return all(environment.get(n) == os.environ.get(n) for n in names if n not in _HEEDED)


@cache
def _server_address() -> bytes:
    """Start the server, which ends with this process, and return where it listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind("")  # Linux chooses a name
        listener.listen()
        # Nobody measures the server itself: its children begin to be measured where they start.
        unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        server = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(listener.fileno())],
            env=unmeasured,
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
        atexit.register(_end, server)
        return bytes(listener.getsockname())


def _end(server: subprocess.Popen[bytes]) -> None:
    server.communicate()
