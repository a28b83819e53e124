"""A real Temporal dev server for the tests of stigma-core."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _start_dev_server(port: int) -> subprocess.Popen[bytes]:
    """A dev server on `port`, tuned as everywhere; returns before it answers."""
    binary = _ROOT / ".tools" / "temporal"
    command = str(binary) if binary.exists() else shutil.which("temporal")
    if command is None:
        reason = "no temporal binary: `make tools` builds one, or put the Temporal CLI on PATH"
        if os.environ.get("STIGMA_NO_SKIP"):
            pytest.fail(reason)
        pytest.skip(reason)
    return subprocess.Popen(
        [
            *(command, "server", "start-dev", "--headless", "--log-level", "never"),
            *("--ip", "127.0.0.1", "--port", str(port), "--http-port", str(_free_port())),
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000"),
            *("--dynamic-config-value", "history.timerProcessorMaxPollRPS=2000"),
            *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
            *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
        ],
        env={**os.environ, "GOGC": "400"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def temporal_address() -> Iterator[str]:
    port = _free_port()
    server = _start_dev_server(port)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, "the dev server ended at once"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the dev server does not answer"
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        _stop(server)


@pytest.fixture
def free_port() -> int:
    return _free_port()


DevServer = Callable[[int], subprocess.Popen[bytes]]


@pytest.fixture
def start_dev_server() -> Iterator[DevServer]:
    """Starts further dev servers, each on a given port; they end with the test."""
    with ExitStack() as stack:

        def start(port: int) -> subprocess.Popen[bytes]:
            server = _start_dev_server(port)
            stack.callback(_stop, server)
            return server

        yield start
