"""Forks Python programs that find other people's packages loaded already. Run by `forked.py`.

Reads orders from the socket on the descriptor given: a connection an order, on which the process id
and, in the end, the exit status are answered. Of ours nothing is loaded here, so that coverage sees
the whole of each program.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import re
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage

ROOT = Path(__file__).parents[2]
ORDER_BYTES = 256 * 1024
_IMPORT = re.compile(r"^(?:from|import) ([\w.]+)", re.MULTILINE)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the other side is gone; in a child, become the program."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for name in libraries():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # children neither search nor copy what all of them have
    order = _next_child(listener)
    if order is not None:
        _become(order)


def _next_child(listener: socket.socket) -> dict[str, Any] | None:
    """Return an order in each child, and None in the server at its end."""
    server = os.getpid()
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is sys.stdin:  # closed with the process that started this one
                    return None
                if isinstance(key.data, _Child):
                    _attend(waiting, key.data, gone=key.fileobj is key.data.connection)
                    continue
                connection, _address = listener.accept()
                text, descriptors, _flags, _sender = socket.recv_fds(connection, ORDER_BYTES, 3)
                child = os.fork()
                if child == 0:
                    for other in {key.data for key in waiting.get_map().values()} - {None}:
                        os.close(other.watch)
                        other.connection.close()
                    listener.close()
                    connection.close()
                    _take_over(server, descriptors)
                    return dict(json.loads(text))
                for descriptor in descriptors:
                    os.close(descriptor)
                with contextlib.suppress(OSError):  # gone already: its child is killed
                    connection.send(str(child).encode())
                started = _Child(child, os.pidfd_open(child), connection)
                waiting.register(started.watch, selectors.EVENT_READ, started)
                waiting.register(connection, selectors.EVENT_READ, started)


@dataclass(frozen=True)
class _Child:
    """A program, and who waits for its end."""

    pid: int
    watch: int
    connection: socket.socket


def _attend(waiting: selectors.BaseSelector, child: _Child, *, gone: bool) -> None:
    """Report a child's end, or kill it when nobody waits for it any more."""
    if gone and child.connection.fileno() < 0:  # its end was reported in the same round
        return
    if child.connection in waiting.get_map():
        waiting.unregister(child.connection)
        if gone:
            signal.pidfd_send_signal(child.watch, signal.SIGKILL)
    if not gone:
        waiting.unregister(child.watch)
        _report(child)


def _report(child: _Child) -> None:
    os.close(child.watch)
    status = os.waitpid(child.pid, 0)[1]
    with contextlib.suppress(OSError):  # nobody asks any more
        child.connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    child.connection.close()


def _take_over(server: int, descriptors: list[int]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    os.setsid()
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)


def _become(order: dict[str, Any]) -> None:
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"], *order["arguments"]]
    if "COVERAGE_PROCESS_START" in os.environ or "COVERAGE_PROCESS_CONFIG" in os.environ:
        coverage.process_startup()
    if path := os.environ.get("PYTHONPATH"):
        sys.path[:0] = path.split(os.pathsep)
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module("sitecustomize")
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, order["directory"])  # as `python -m` has it
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def libraries() -> Iterator[str]:
    """Yield the names of other people's modules that ours import."""
    ours = {path.name for source in sources() for path in source.iterdir()}
    named = (
        name
        for source in sources()
        for path in source.rglob("*.py")
        for name in _IMPORT.findall(path.read_text(encoding="utf-8"))
    )
    for name in dict.fromkeys(named):
        if name.partition(".")[0] not in ours:
            yield name


def sources() -> list[Path]:
    """Return where our packages are."""
    return sorted([*ROOT.glob("packages/*/src"), *ROOT.glob("services/*/src")])


if __name__ == "__main__":
    main()
