"""`stigma init`: a project to begin with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from stigma_cli.errors import CliError, Exit
from stigma_cli.examples import example_directory
from stigma_cli.options import path_of
from stigma_cli.output import print_line

_EXAMPLE = "new-project"


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_of, help="Made if it is not there.")
    ],
) -> None:
    """Write a project to begin with.

    It has an agent, a document and a Python worker that call it, and a test. No file is
    overwritten, and nothing in it needs a key or a network.
    """
    example = example_directory(_EXAMPLE)
    files = {directory / each.relative_to(example): each for each in _sources(example)}
    taken = [each for each in files if each.exists()]
    if taken:
        raise CliError(f"{taken[0]} is there already", "name a new directory", code=Exit.USAGE)
    try:
        for file, source in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source.read_bytes())
            print_line(str(file))
    except OSError as error:
        raise CliError(f"{directory}: {error.strerror}", code=Exit.USAGE) from None
    print_line(f"\nNext: `cd {shlex.quote(str(directory))}`, and see README.md")


def _sources(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory and those below, without what Python leaves there."""
    for each in sorted(directory.iterdir()):
        if not each.is_dir():
            yield each
        elif each.name != "__pycache__":
            yield from _sources(each)
