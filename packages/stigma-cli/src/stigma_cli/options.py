"""Values of options that several commands take."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

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
