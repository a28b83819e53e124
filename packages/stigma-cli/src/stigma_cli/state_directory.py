"""The directory of `stigma up`, which only its owner may read.

Logs, the registry and Temporal's data in it have prompts, answers and callback tokens.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO
from urllib.parse import quote

from stigma_cli.errors import CliError, Exit

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
# Of processes that write there.
UMASK = 0o077

# Room of a disk below which nothing starts, in bytes: new databases and the first log lines.
LEAST_ROOM = 4 * 1024 * 1024

_PAGES = 64 * 1024
FREE_ROOM = "free some room there, or use a directory on another disk"

# A full disk, and limits of a user and of a process.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Databases, with the files that SQLite puts beside them, and logs.
_OURS = ("lock", "*.log", "registry.db*", "temporal.db*")


def open_private(path: Path, *, more: bool = False) -> IO[bytes]:
    """Open a file for writing, readable for its owner alone: anew, or to add `more`."""
    path.touch(FILE_MODE)
    path.chmod(FILE_MODE)
    return path.open("ab" if more else "wb")


def claim(directory: Path, claims: ExitStack) -> None:
    """Make a directory this process's own, as long as `claims` lasts, and its files private.

    Raises:
        CliError: another stack uses it, it cannot be written, its disk is full, or a database in it
            is damaged.
    """
    try:
        directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        lock = claims.enter_context(open_private(directory / "lock"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _make_private(directory)
        _take_room(lock)
    except BlockingIOError:
        raise CliError(
            f"another `stigma up` runs in {directory}", "name another directory with --dir"
        ) from None
    except OSError as error:
        raise no_file(error, directory) from None
    for name in ("registry.db", "temporal.db"):
        _check_database(directory / name)


def registry_url(directory: Path) -> str:
    """Return SQLAlchemy's URL of the registry; `%` and `?` in the path are quoted."""
    return f"sqlite+aiosqlite:///{quote(str((directory / 'registry.db').absolute()))}"


def no_file(error: OSError, directory: Path) -> CliError:
    """Return the error of a file in `directory` that cannot be made or written."""
    message = f"{error.filename or directory}: {error.strerror}"
    if error.errno in _NO_ROOM:
        return CliError(message, FREE_ROOM)
    return CliError(message, code=Exit.USAGE)


def is_full(directory: Path) -> bool:
    """Return whether the disk of a directory has no room for a page of a database and its log."""
    return shutil.disk_usage(directory).free < _PAGES


def _take_room(lock: IO[bytes]) -> None:
    """Write to a file what the first files need, and empty it: quotas count as well.

    Raises:
        OSError: there is no room.
    """
    left = memoryview(bytes(LEAST_ROOM))
    try:
        while left:
            left = left[os.write(lock.fileno(), left) :]
    finally:
        os.ftruncate(lock.fileno(), 0)


def _make_private(directory: Path) -> None:
    """Restrict files of an earlier release, and the directory unless the user named it."""
    if directory.name == ".stigma":
        directory.chmod(DIRECTORY_MODE)
    for pattern in _OURS:
        for file in directory.glob(pattern):
            file.chmod(FILE_MODE)


def _check_database(file: Path) -> None:
    if not file.exists():
        return
    address = f"file:{quote(str(file.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            problems = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        problems = str(error)
    if problems != "ok":
        raise CliError(
            f"{file} is damaged: {problems}",
            f"restore it, or move it away: mv {file} {file}.damaged",
        )
