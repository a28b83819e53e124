"""What the commands on agents and on workflows have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from stigma.contracts.executions import Kind
from stigma_cli.exits import CliError
from stigma_cli.output import Format, as_json, as_time, print_json, print_line, print_table
from stigma_cli.resource_files import D

Files = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help='A file, a directory of files, or "-" for stdin; may be given again.',
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check only: nothing is registered.")]


async def apply_each(
    kind: Kind,
    definitions: Sequence[tuple[str, D]],
    apply: Callable[[D], Awaitable[D]],
    *,
    dry_run: bool,
    output: Format,
) -> None:
    """Apply definitions, each with the file it is from; say so of each, or of the failed one."""
    applied: list[D] = []
    for file, definition in definitions:
        try:
            applied.append(await apply(definition))
        except CliError as error:
            raise CliError(f"{file}: {error.message}", error.hint, code=error.code) from None
        if output is Format.TEXT:
            version = f"@{applied[-1].version}" if applied[-1].version else ""
            print_line(f"{definition.name}{version} {'is valid' if dry_run else 'applied'}")
    if output is Format.JSON:
        _print_json(kind, applied)


async def all_pages(page: Callable[[str], Awaitable[tuple[Sequence[D], str]]]) -> list[D]:
    """Return what is on all pages; `page` fetches the one of a token."""
    found, token = await page("")
    everything = list(found)
    while token:
        found, token = await page(token)
        everything.extend(found)
    return everything


def print_definitions(
    kind: Kind,
    definitions: Sequence[D],
    own: tuple[str, Callable[[D], str]],
    output: Format,
) -> None:
    """Print definitions; in their table, `own` is the column that only this kind has."""
    if output is Format.JSON:
        _print_json(kind, definitions)
        return
    title, text = own
    print_table(
        ("NAME", "VERSION", title, "LABELS", "APPLIED"),
        (
            (
                definition.name,
                str(definition.version),
                text(definition),
                labels_text(definition.labels),
                as_time(definition.create_time),
            )
            for definition in definitions
        ),
    )


def print_definition(definition: D, rows: Sequence[tuple[str, str]], output: Format) -> None:
    """Print one definition: what there is to say of it, each by its name."""
    if output is Format.JSON:
        print_json(as_json(definition))
        return
    for name, value in rows:
        if value:
            print_line(f"{name + ':':14}{value}")


def print_deleted(name: str, output: Format) -> None:
    """Say that a definition was deleted."""
    if output is Format.JSON:
        print_json({"deleted": name})
    else:
        print_line(f"{name} deleted")


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels on a line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _print_json(kind: Kind, definitions: Sequence[D]) -> None:
    print_json({f"{kind}s": [as_json(definition) for definition in definitions]})
