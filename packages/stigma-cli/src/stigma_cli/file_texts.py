"""Texts of the files that commands are given."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from stigma_cli.errors import CliError, Exit

SUFFIXES = (".yaml", ".yml", ".json")
_MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FileText:
    """The text of a file, or the reason why it cannot be read."""

    name: str
    """In messages."""
    text: str = ""
    problem: str = ""
    """Empty: it was read."""


def read_text(path: Path) -> str:
    """Read a file, or stdin for "-".

    Raises:
        CliError: it cannot be read, or is larger than any definition may be.
    """
    file = _read(path)
    if file.problem:
        raise CliError(f"{file.name}: {file.problem}", code=Exit.USAGE)
    return file.text


def shown_name(path: Path) -> str:
    """Return what a file is called in messages."""
    return "stdin" if _is_stdin(path) else str(path)


def texts(paths: Iterable[Path]) -> Iterator[FileText]:
    """Yield the texts of files, of the files in directories, and of stdin ("-"), each once.

    A directory's own directories are left out, and so are files with other suffixes, and pipes,
    sockets and devices.
    """
    files = [each for path in paths for each in _files(path)]
    for file in dict.fromkeys(files):
        yield _read(file) if isinstance(file, Path) else file


def _files(path: Path) -> list[Path | FileText]:
    """Return the files of a directory, or the one that a path is."""
    try:
        if _is_stdin(path) or not path.is_dir():
            return [path]
        # What a link leads to may be absent, which is told; a pipe would be waited for.
        found = sorted(
            each
            for each in path.iterdir()
            if each.suffix in SUFFIXES and (each.is_file() or not _exists(each))
        )
    except OSError as error:
        return [FileText(str(path), problem=_cause(error))]
    return [*found] or [FileText(str(path), problem=f"has no file with {' or '.join(SUFFIXES)}")]


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _read(path: Path) -> FileText:
    name = shown_name(path)
    try:
        with nullcontext(sys.stdin.buffer) if _is_stdin(path) else path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            return FileText(name, problem=f"larger than {_MAX_FILE_BYTES} bytes")
        return FileText(name, content.decode())
    except OSError as error:
        return FileText(name, problem=_cause(error))
    except UnicodeDecodeError:
        return FileText(name, problem="is not UTF-8 text")


def _is_stdin(path: Path) -> bool:
    return str(path) == "-"


def _cause(error: OSError) -> str:
    return error.strerror or str(error)
