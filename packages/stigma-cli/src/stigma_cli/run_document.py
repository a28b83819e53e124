"""`stigma run`: a workflow document, run by the engine."""

from __future__ import annotations

import asyncio
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from stigma_cli.absent_engine import noted_without_engine
from stigma_cli.agent_calls import agent_calls
from stigma_cli.connections import task_queues
from stigma_cli.documents import can_check, document_name, problems_of
from stigma_cli.errors import CliError, Exit
from stigma_cli.file_texts import read_text, shown_name
from stigma_cli.options import duration_of
from stigma_cli.output import Format, Output, as_duration, print_json, print_note
from stigma_cli.problems import bounded
from stigma_cli.progress import follow
from stigma_cli.run_inputs import read_input
from stigma_cli.runs import result, start
from stigma_cli.temporal_connections import connect_temporal
from stigma_cli.yaml_files import parse_file

File = Annotated[Path, typer.Argument(metavar="FILE", help='The document, or "-" for stdin.')]


def run(
    file: File,
    input: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option("--input", "-i", metavar="JSON", help="The input: JSON, or @FILE with JSON."),
    ] = "null",
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Show each task as it runs, and tool calls of agents (from the API)."
        ),
    ] = False,
    timeout: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="Stop waiting after so long, for instance 10m; the run goes on.",
        ),
    ] = "24h",
    output: Output = Format.TEXT,
) -> None:
    """Run a workflow document and print its output.

    A document that is not valid is refused before anything starts: here when the engine is
    installed beside this command, else by the engine that was to run it.
    """
    longest = duration_of("--timeout", timeout)
    text = read_text(file)
    name = document_name(parse_file(shown_name(file), text))
    try:
        data = read_input(input)
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    if can_check():
        _refuse_invalid(shown_name(file), text)
    asyncio.run(_run(name, text, data, watch=watch, longest=longest, output=output))


def _refuse_invalid(file: str, text: str) -> None:
    problems = problems_of(text)
    messages = bounded([each.in_file(file) for each in problems.shown], problems.more)
    if messages:
        raise CliError(
            messages[0],
            "nothing was started; `stigma validate` checks the document again",
            code=Exit.USAGE,
            more=messages[1:],
        )


async def _run(
    name: str, text: str, data: Any, *, watch: bool, longest: timedelta, output: Format
) -> None:
    client = await connect_temporal()
    queue = task_queues().engine
    handle = await start(client, name, text, data, queue=queue)
    print_note(f"started {handle.id}")
    try:
        async with (
            asyncio.timeout(longest.total_seconds()),
            noted_without_engine(client, handle, queue),
        ):
            if watch and output is Format.TEXT:
                async with agent_calls(handle) as agents:
                    outcome = await follow(handle, agents)
            else:
                outcome = await result(handle)
    except TimeoutError:
        message = f"{handle.id} has not ended within {as_duration(longest)}"
        raise CliError(message, _goes_on(handle.id), code=Exit.UNREACHABLE) from None
    except asyncio.CancelledError:
        print_note(_goes_on(handle.id))
        raise
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        raise CliError(error.message, _goes_on(handle.id), code=error.code) from None
    if output is Format.JSON:
        print_json({"workflowId": handle.id, "runId": handle.result_run_id, "output": outcome})
    else:
        print_json(outcome)


def _goes_on(workflow_id: str) -> str:
    name = shlex.quote(workflow_id)
    return (
        f"the run goes on: `temporal workflow result -w {name}` waits for it, "
        f"`stigma execution cancel {name}` stops it"
    )
