"""Values of options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from stigma.contracts.durations import parse_duration
from stigma_cli.errors import CliError, Exit


def path_of(value: str | Path) -> Path:
    """Return a path. Path("") would be the working directory.

    Raises:
        typer.BadParameter: it is empty: a variable that is not set.
    """
    if value == "":
        raise typer.BadParameter("is empty")
    return Path(value)


Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        parser=path_of,
        help='Files, directories of files, or "-" for stdin.',
        show_default=False,
    ),
]
FilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        parser=path_of,
        help="One more, as in `-f FILE -f FILE`.",
        show_default=False,
    ),
]


def given_files(arguments: Sequence[Path] | None, option: Sequence[Path] | None) -> list[Path]:
    """Return the files that a command was given, by either way.

    Raises:
        typer.BadParameter: there are none.
    """
    files = [*(option or ()), *(arguments or ())]
    if not files:
        raise typer.BadParameter("give files, directories of files, or - for stdin")
    return files


def duration_of(option: str, text: str) -> timedelta:
    """Return the duration that an option was given.

    Raises:
        CliError: it is none.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CliError(f"{option}: {error}", code=Exit.USAGE) from None


def not_empty(value: str | None) -> str | None:
    """Return a text.

    Raises:
        typer.BadParameter: it is empty: a variable that is not set.
    """
    if value == "":
        raise typer.BadParameter("is empty")
    return value
