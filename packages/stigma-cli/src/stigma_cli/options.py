"""Values of options that several commands take."""

from __future__ import annotations

from pathlib import Path

import typer


def path_of(value: str | Path) -> Path:
    """Return a path. Path("") would be the working directory.

    Raises:
        typer.BadParameter: it is empty: a variable that is not set.
    """
    if value == "":
        raise typer.BadParameter("is empty")
    return Path(value)


def not_empty(value: str | None) -> str | None:
    """Return a text.

    Raises:
        typer.BadParameter: it is empty: a variable that is not set.
    """
    if value == "":
        raise typer.BadParameter("is empty")
    return value
