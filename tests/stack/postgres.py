"""A PostgreSQL of the tests' own, from Debian's binaries, in a temporary directory."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from stigma_cli.child_process import bound_to_parent
from stigma_cli.devserver import free_ports
from tests.stack.waiting import eventually

# Where Debian has it, off PATH.
_DIRECTORY = "STIGMA_TEST_POSTGRESQL_DIR"

HOW_TO_GET = "PostgreSQL's server binaries are absent: apt-get install postgresql"


def find_binaries() -> Path | None:
    """The newest PostgreSQL's bin directory; None when there is none."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    installed = Path(os.environ.get(_DIRECTORY, "/usr/lib/postgresql")).glob("*/bin/initdb")
    return max((path.parent for path in installed), key=_version, default=None)


@asynccontextmanager
async def postgres(binaries: Path) -> AsyncIterator[str]:
    """A server on a free port while the context lasts: its SQLAlchemy URL for asyncpg."""
    account = _account()
    [port] = free_ports(1)
    directory = await asyncio.to_thread(_initialise, binaries, account)
    server = await asyncio.create_subprocess_exec(
        *bound_to_parent(_command(binaries, directory, port), user=account),
        stderr=asyncio.subprocess.DEVNULL,
        cwd=directory,
    )
    try:
        await eventually(
            lambda: _answers(binaries, port), what=f"PostgreSQL ready; see {directory}/log"
        )
        yield f"postgresql+asyncpg://stigma@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # its "fast" shutdown, which waits for no client
        await asyncio.wait_for(server.wait(), 60)
        await asyncio.to_thread(shutil.rmtree, directory)


def _initialise(binaries: Path, account: str | None) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="stigma-postgres-"))
    if account is not None:
        shutil.chown(directory, account)
    initdb = [str(binaries / "initdb"), "-D", str(directory / "data"), "-U", "stigma"]
    initdb += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    _run(bound_to_parent(initdb, user=account), directory)
    return directory


def _command(binaries: Path, directory: Path, port: int) -> list[str]:
    command = [str(binaries / "postgres"), "-D", str(directory / "data"), "-p", str(port)]
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(directory),
        "fsync": "off",
        "logging_collector": "on",
        "log_directory": str(directory / "log"),
    }
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command


async def _answers(binaries: Path, port: int) -> bool:
    probe = await asyncio.create_subprocess_exec(
        str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)
    )
    return await probe.wait() == 0


def _run(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")


def _account() -> str | None:
    """Who to run it as: PostgreSQL refuses root. None: who we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _version(binaries: Path) -> int:
    found = re.search(r"postgresql/(\d+)/", str(binaries))
    return int(found[1]) if found else 0
