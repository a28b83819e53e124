"""`stigma init`: a project to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stigma_cli.errors import CliError, Exit
from stigma_cli.new_projects import Language, project_files
from stigma_cli.options import path_of
from stigma_cli.output import print_line


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_of, help="Made if it is not there.")
    ],
    language: Annotated[
        Language,
        typer.Option(
            "--language",
            "-l",
            metavar="python|go|java|typescript",
            help="Language of the worker that calls the agent.",
        ),
    ] = Language.PYTHON,
) -> None:
    """Write a project to begin with.

    It has an agent, and a document and a worker that call it; in Python also a test. No file is
    overwritten, and nothing in it needs a key. Builds of the other languages fetch libraries.
    """
    files = {directory / name: content for name, content in project_files(language).items()}
    taken = [each for each in files if each.exists()]
    if taken:
        raise CliError(f"{taken[0]} is there already", "name a new directory", code=Exit.USAGE)
    try:
        for file, content in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as error:
        raise CliError(f"{directory}: {error.strerror}", code=Exit.USAGE) from None
    for line in _written(directory, list(files)):
        print_line(line)
    print_line(f"\nNext: `cd {shlex.quote(str(directory))}`, and see README.md")


def _written(directory: Path, files: list[Path]) -> list[str]:
    """Return a line for each file at the top, and for each folder with how many files it has."""
    tops = [directory / each.relative_to(directory).parts[0] for each in files]
    return [
        str(top) if top in files else f"{top}/ ({tops.count(top)} files)"
        for top in dict.fromkeys(tops)
    ]
