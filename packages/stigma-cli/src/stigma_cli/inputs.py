"""`stigma inputs`: what agents wait for from people."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from stigma.agent.v1.agent_execution_pb2 import PendingInput
from stigma_cli.connections import Api, open_api
from stigma_cli.errors import CliError, Exit
from stigma_cli.input_calls import inputs_of, list_inputs
from stigma_cli.input_text import command_for, detail_lines, kind_name, requested_text
from stigma_cli.output import (
    Format,
    Output,
    as_age,
    as_json,
    as_time,
    print_json,
    print_json_line,
    print_line,
    print_table,
)
from stigma_cli.terminal_text import escape_line

_POLL_SECONDS = 2.0
_MAX_WATCHED = 10_000

app = typer.Typer(
    help="Show what agents wait for from people.",
    no_args_is_help=True,
)


@app.command("list")
def list_(
    agent: Annotated[str, typer.Option(metavar="NAME", help="Of this agent only.")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with a line for each new one, until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MAX_WATCHED, help="Most inputs shown.")
    ] = 200,
    output: Output = Format.TEXT,
) -> None:
    """List what waits for an answer.

    Approvals, questions, calls of clients' tools and what MCP servers ask: those of your own
    executions, and with the permission executions.approve those of all executions of agents within
    your reach.
    """
    asyncio.run(_list(agent, limit, output, watch=watch))


@app.command()
def get(
    execution: Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")],
    input_id: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="The input's id; all where it is left out.")
    ] = "",
    output: Output = Format.TEXT,
) -> None:
    """Show what one execution waits for, in full."""
    asyncio.run(_get(execution, input_id, output))


async def _list(agent: str, limit: int, output: Format, *, watch: bool) -> None:
    async with open_api() as api:
        if watch:
            await _watch(api, agent, output)
            return
        found, more = await list_inputs(api, agent, limit)
    if output is Format.JSON:
        print_json({"inputs": [as_json(each) for each in found]})
        return
    _print_inputs(found)
    if more:
        print_line(f"(the first {limit}; see --limit and --agent)")


async def _watch(api: Api, agent: str, output: Format) -> None:
    found, _ = await list_inputs(api, agent, _MAX_WATCHED)
    known: dict[tuple[str, str], PendingInput] = {}
    if output is Format.TEXT:
        _print_inputs(found)
        known = _by_key(found)
    while True:
        pending = _by_key(found)
        for key in (each for each in pending if each not in known):
            _print_change(pending[key], output, is_pending=True)
        for key in (each for each in known if each not in pending):
            _print_change(known[key], output, is_pending=False)
        known = pending
        await asyncio.sleep(_POLL_SECONDS)
        found, _ = await list_inputs(api, agent, _MAX_WATCHED)


def _print_change(found: PendingInput, output: Format, *, is_pending: bool) -> None:
    if output is Format.JSON:
        print_json_line({"pending": is_pending, "input": as_json(found)})
    elif is_pending:
        print_line(escape_line(f"{found.execution_id}  {requested_text(found)}"))
    else:
        print_line(escape_line(f"{found.execution_id}  {found.id} waits no more"))


def _by_key(found: Sequence[PendingInput]) -> dict[tuple[str, str], PendingInput]:
    return {(each.execution_id, each.id): each for each in found}


def _print_inputs(found: Sequence[PendingInput]) -> None:
    columns = ("EXECUTION", "INPUT", "KIND", "~TOOL", "~QUESTION", ">WAITING", "EXPIRES")
    rows = (
        (
            each.execution_id,
            each.id,
            kind_name(each),
            each.tool,
            " ".join(each.question.split()),
            as_age(each.request_time),
            as_time(each.expire_time),
        )
        for each in found
    )
    print_table(columns, rows)


async def _get(execution_id: str, input_id: str, output: Format) -> None:
    async with open_api() as api:
        found = await inputs_of(api, execution_id, input_id)
    if input_id and not found:
        message = f"{execution_id} does not wait for {input_id}"
        hint = "`stigma inputs list` shows what is waited for"
        raise CliError(message, hint, code=Exit.NOT_FOUND)
    if output is Format.JSON:
        print_json({"inputs": [as_json(each) for each in found]})
        return
    for index, each in enumerate(found):
        if index:
            print_line("")
        for line in detail_lines(each):
            print_line(line)
        print_line(f"{'answer:':10} {command_for(each)}")
    if not found:
        print_line(f"{execution_id} waits for nothing")
