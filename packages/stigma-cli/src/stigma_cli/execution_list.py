"""`stigma execution list`: executions of one kind, or of both in one order."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from stigma.contracts.executions import Execution, Kind, phase_name
from stigma_cli.connections import Api, open_api
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import list_executions
from stigma_cli.execution_text import definition_id, took
from stigma_cli.output import (
    Format,
    Output,
    as_age,
    as_json,
    print_json,
    print_line,
    print_note,
    print_table,
)

# Fields of filters that only executions of one kind have.
_FIELDS = {
    Kind.AGENT: frozenset({"agent", "root", "parent"}),
    Kind.WORKFLOW: frozenset({"workflow"}),
}
_TEXT = re.compile(r'"[^"]*"')
_FIELD = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_./-]*)\s*[<>]?=")


def list_(
    filter: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            metavar="CONDITIONS",
            help='Conditions joined by AND: phase = RUNNING, session = "…", labels.KEY = "…", '
            'start_time >= "2026-01-01T00:00:00Z"; of agents only: agent = "name", root = "ID", '
            'parent = "ID"; of workflows only: workflow = "name".',
        ),
    ] = "",
    agents: Annotated[bool, typer.Option("--agents", help="Those of agents alone.")] = False,
    workflows: Annotated[
        bool, typer.Option("--workflows", help="Those of workflows alone.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Most executions shown.")
    ] = 50,
    output: Output = Format.TEXT,
) -> None:
    """List executions: open ones first, then the last closed.

    Of agents and of workflows, unless an option or a condition restricts the list to one kind.
    """
    if agents == workflows:
        asyncio.run(_list(tuple(Kind), filter, limit, output))
    else:
        asyncio.run(_list((Kind.AGENT if agents else Kind.WORKFLOW,), filter, limit, output))


@dataclass(frozen=True)
class Listed:
    """Executions of a list, open ones first, then the last closed."""

    executions: Sequence[Execution]
    has_more: bool


@dataclass(frozen=True)
class Restriction:
    """Conditions that restrict a filter to executions of one kind."""

    kind: Kind
    fields: Sequence[str]

    @property
    def text(self) -> str:
        """The restriction, for people."""
        verb = "is a condition" if len(self.fields) == 1 else "are conditions"
        return f"executions of {self.kind}s only: {' and '.join(self.fields)} {verb} of theirs"


def restriction_of(query: str) -> Restriction | None:
    """Return what restricts a filter to one kind; None where nothing does.

    Raises:
        CliError: it has conditions of both kinds, which no execution meets.
    """
    named = _FIELD.findall(_TEXT.sub('""', query))
    by_kind = {
        kind: list(dict.fromkeys(each for each in named if each in fields))
        for kind, fields in _FIELDS.items()
    }
    found = [Restriction(kind, fields) for kind, fields in by_kind.items() if fields]
    if len(found) > 1:
        raise CliError(
            f"no execution meets the filter: {found[0].text}, {found[1].text}",
            "list one kind at a time",
            code=Exit.USAGE,
        )
    return found[0] if found else None


async def list_kinds(api: Api, kinds: Sequence[Kind], query: str, limit: int) -> Listed:
    """Return up to so many executions of these kinds.

    Each kind's come in the order of Temporal's lists: open ones by their start, the last first,
    then closed ones by their end. So do those of both.

    Raises:
        CliError: the executions of a kind cannot be listed.
    """
    lists = await asyncio.gather(*(list_executions(api, kind, query, limit) for kind in kinds))
    merged = list(heapq.merge(*(found for found, _ in lists), key=_recency, reverse=True))
    return Listed(merged[:limit], len(merged) > limit or any(more for _, more in lists))


async def _list(kinds: Sequence[Kind], query: str, limit: int, output: Format) -> None:
    if len(kinds) > 1 and (restriction := restriction_of(query)) is not None:
        kinds = (restriction.kind,)
        if output is Format.TEXT:
            print_note(restriction.text)
    async with open_api() as api:
        listed = await list_kinds(api, kinds, query, limit)
    if output is Format.JSON:
        told = [{"kind": str(Kind.of(each)), **as_json(each)} for each in listed.executions]
        print_json({"kinds": [str(kind) for kind in kinds], "executions": told})
        return
    columns = ("KIND", "~NAME") if len(kinds) > 1 else (f"~{kinds[0].upper()}",)
    print_table(
        ("ID", *columns, "PHASE", ">AGE", ">TOOK"),
        (_list_row(each, with_kind=len(kinds) > 1) for each in listed.executions),
    )
    if listed.has_more:
        print_line(f"(the first {limit}; see --limit and --filter)")


def _list_row(execution: Execution, *, with_kind: bool) -> Sequence[str]:
    return (
        execution.id,
        *((str(Kind.of(execution)),) if with_kind else ()),
        definition_id(execution) or "(inline)",
        phase_name(execution),
        as_age(execution.status.start_time),
        took(execution),
    )


def _recency(execution: Execution) -> tuple[bool, int]:
    status = execution.status
    is_closed = status.HasField("end_time")
    time = status.end_time if is_closed else status.start_time
    return not is_closed, time.ToNanoseconds()
