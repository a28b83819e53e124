"""Commands on the registry's definitions: of agents and of workflows, by their kind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic

import typer

from stigma.contracts.executions import Kind
from stigma_cli.connections import Api, open_api
from stigma_cli.definition_files import FileDefinition
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import (
    Format,
    as_age,
    as_json,
    as_time,
    print_json,
    print_line,
    print_note,
    print_table,
)
from stigma_cli.resource_files import D
from stigma_cli.terminal_text import escape_line
from stigma_cli.violations import located

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check only: nothing is registered.")]


@dataclass(frozen=True)
class DefinitionKind(Generic[D]):
    """One kind of definition: its files, its RPCs, and what is shown of it.

    Attributes:
        kind: which of the two.
        read: reads definitions from files.
        apply: registers one, or only checks it; returns it with its version.
        get: returns the one of an id.
        list_page: returns the page of a token.
        delete: deletes the one of a name.
        column: title and text of the column that only this kind's table has.
        rows: what only this kind has, each by its name.
        body: the name and the text of what it is about, which may be long.
        users: returns the definitions that use the one of a name, for who is asked to delete it.
        warning: what whoever applies one may not expect; empty for nothing.
    """

    kind: Kind
    read: Callable[[Iterable[Path]], list[FileDefinition[D]]]
    apply: Callable[[Api, D, bool], Awaitable[D]]
    get: Callable[[Api, str], Awaitable[D]]
    list_page: Callable[[Api, str], Awaitable[Any]]
    delete: Callable[[Api, str], Awaitable[Any]]
    column: tuple[str, Callable[[D], str]]
    rows: Callable[[D], list[tuple[str, str]]]
    body: Callable[[D], tuple[str, str]]
    users: Callable[[Api, str], Awaitable[Sequence[str]]] | None = None
    warning: Callable[[D], str] = lambda _: ""

    @property
    def plural(self) -> str:
        """The name of several, in JSON and in the API's messages."""
        return f"{self.kind}s"


def apply_files(of: DefinitionKind[D], files: list[Path], dry_run: bool, output: Format) -> None:
    """Register the definitions of files; print each, or which one failed."""
    asyncio.run(_apply(of, of.read(files), dry_run=dry_run, output=output))


def print_one(of: DefinitionKind[D], definition_id: str, output: Format) -> None:
    """Print the definition of an id."""
    asyncio.run(_print_one(of, definition_id, output))


def print_all(of: DefinitionKind[D], output: Format) -> None:
    """Print the newest version of every definition."""
    asyncio.run(_print_all(of, output))


def delete(of: DefinitionKind[D], name: str, output: Format, *, yes: bool) -> None:
    """Delete all versions of a definition, once a person has said yes."""
    if not yes:
        used = asyncio.run(_users(of, name))
        _confirm(f"delete all versions of {of.kind} {name}{used}")
    asyncio.run(_delete(of, name, output))


async def _apply(
    of: DefinitionKind[D],
    definitions: Sequence[FileDefinition[D]],
    *,
    dry_run: bool,
    output: Format,
) -> None:
    applied: list[D] = []
    async with open_api() as api:
        for given in definitions:
            definition = given.definition
            try:
                before = await _newest(of, api, definition.name, output, dry_run=dry_run)
                applied.append(await of.apply(api, definition, dry_run))
            except CliError as error:
                raise _in_file(error, given) from None
            if output is Format.TEXT:
                version = f"@{applied[-1].version}" if applied[-1].version else ""
                unchanged = before is not None and before.version == applied[-1].version
                done = "is valid" if dry_run else "unchanged" if unchanged else "applied"
                print_line(f"{definition.name}{version} {done}")
                if warning := of.warning(definition):
                    print_note(f"{definition.name}: {warning}")
        if output is Format.JSON:
            print_json({of.plural: [as_json(each) for each in applied]})


def _in_file(error: CliError, given: FileDefinition[Any]) -> CliError:
    """Return an error with the file, and with the place of each field that is refused."""
    if not error.violations:
        return CliError(f"{given.file}: {error.message}", error.hint, code=error.code)
    document = given.document()
    first, *more = [located(each, document).in_file(given.file) for each in error.violations]
    rest = (error.message, *error.more)[len(error.violations) :]
    return CliError(first, error.hint, code=error.code, more=[*more, *rest])


async def _newest(
    of: DefinitionKind[D], api: Api, name: str, output: Format, *, dry_run: bool
) -> D | None:
    """Return the newest version, to tell whether applying adds one; None: there is none to see."""
    if dry_run or output is Format.JSON:
        return None
    try:
        return await of.get(api, name)
    except CliError as error:
        # A principal may be allowed to apply and not to read; a bad name is refused when applied.
        if error.code in {Exit.NOT_FOUND, Exit.PERMISSION, Exit.USAGE}:
            return None
        raise


async def _print_one(of: DefinitionKind[D], definition_id: str, output: Format) -> None:
    async with open_api() as api:
        definition: D = await of.get(api, definition_id)
    if output is Format.JSON:
        print_json(as_json(definition))
        return
    rows = [
        ("name", f"{definition.name}@{definition.version}"),
        *of.rows(definition),
        ("labels", _labels_text(definition.labels)),
        ("applied", as_time(definition.create_time)),
        ("digest", definition.digest),
        of.body(definition),
    ]
    for name, value in rows:
        if value:
            print_line(f"{name + ':':14}{value}")


async def _print_all(of: DefinitionKind[D], output: Format) -> None:
    definitions: list[D] = []
    async with open_api() as api:
        page = await of.list_page(api, "")
        definitions.extend(getattr(page, of.plural))
        while page.next_page_token:
            page = await of.list_page(api, page.next_page_token)
            definitions.extend(getattr(page, of.plural))
    if output is Format.JSON:
        print_json({of.plural: [as_json(each) for each in definitions]})
        return
    title, text = of.column
    print_table(
        ("NAME", ">VERSION", f"~{title}", "~LABELS", ">AGE"),
        (
            (
                each.name,
                str(each.version),
                text(each),
                _labels_text(each.labels),
                as_age(each.create_time),
            )
            for each in definitions
        ),
    )


async def _users(of: DefinitionKind[D], name: str) -> str:
    """Return what uses a definition, for the question whether to delete it; empty for nothing."""
    if of.users is None:
        return ""
    try:
        async with open_api() as api:
            found = await of.users(api, name)
    except CliError:
        return ""  # who may not list them deletes it all the same, and is told of any other error
    return f", which {', '.join(found)} {'uses' if len(found) == 1 else 'use'}," if found else ""


async def _delete(of: DefinitionKind[D], name: str, output: Format) -> None:
    async with open_api() as api:
        await of.delete(api, name)
    if output is Format.JSON:
        print_json({"deleted": name})
    else:
        print_line(f"{name} deleted")


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise CliError(f"will not {what} without --yes", code=Exit.USAGE)
    if not typer.confirm(escape_line(f"{what[0].upper()}{what[1:]}?"), err=True):
        raise CliError("nothing was deleted")


def _labels_text(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
