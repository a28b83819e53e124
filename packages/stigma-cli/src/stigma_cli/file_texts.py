"""Texts of the files that commands are given."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from stigma_cli.errors import CliError, Exit

SUFFIXES = (".yaml", ".yml", ".json")
_MAX_FILE_BYTES = 4 * 1024 * 1024


def read_text(path: Path) -> str:
    """Read a file, or stdin for "-".

    Raises:
        CliError: it cannot be read, or is larger than any definition may be.
    """
    name = shown_name(path)
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise CliError(f"{name}: larger than {_MAX_FILE_BYTES} bytes", code=Exit.USAGE)
        return content.decode()
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}", code=Exit.USAGE) from None
    except UnicodeDecodeError:
        raise CliError(f"{name}: is not UTF-8 text", code=Exit.USAGE) from None


def shown_name(path: Path) -> str:
    """Return what a file is called in messages."""
    return "stdin" if str(path) == "-" else str(path)


def texts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of files, of the files in directories, and of stdin ("-").

    Raises:
        CliError: one cannot be read.
    """
    for path in paths:
        files = [path]
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES)
        for file in files:
            yield shown_name(file), read_text(file)
