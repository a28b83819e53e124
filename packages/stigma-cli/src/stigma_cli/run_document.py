"""`stigma run` and `stigma validate`: workflow documents."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from stigma_cli import definition_files
from stigma_cli.agent_calls import agent_calls
from stigma_cli.connections import connect_temporal, task_queues
from stigma_cli.documents import can_check, document_name, problems_of
from stigma_cli.errors import CliError, Exit
from stigma_cli.options import duration_of
from stigma_cli.output import Format, Output, as_duration, print_json, print_line, print_note
from stigma_cli.progress import follow
from stigma_cli.resource_files import AGENT, OPERATOR_KINDS, WORKFLOW, read_text, shown_name
from stigma_cli.runs import read_input, result, start
from stigma_cli.yaml_files import parse_documents

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
    name = document_name(shown_name(file), text)
    try:
        data = read_input(input)
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    if can_check():
        _refuse_invalid(shown_name(file), text)
    asyncio.run(_run(name, text, data, watch=watch, longest=longest, output=output))


def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a workflow document, or a file of workflows or of agents.

    Needs no server. Exits 2 when something is wrong, with each mistake on a line. Of agents it
    checks keys and types; `stigma agent apply --dry-run` checks the rest.
    """
    name, text = shown_name(file), read_text(file)
    documents = parse_documents(name, text)
    kinds = [each.get("kind") for each in documents if isinstance(each, dict)]
    kind = kinds[0] if kinds else None
    if kind == AGENT or set(kinds) & set(OPERATOR_KINDS):
        _validate_agents(name, text, output)
        return
    checked = [(name, text)]
    if kind == WORKFLOW:
        # Lines are counted within each document: it is a text of its own.
        workflows = definition_files.workflows_of(name, text)
        checked = [(f"{name} ({each.name})", each.spec.document) for each in workflows]
    problems = [(place, problem) for place, each in checked for problem in problems_of(each)]
    if output is Format.JSON:
        found = [asdict(problem) for _, problem in problems]
        print_json({"valid": not found, "problems": found})
    elif problems:
        for place, problem in problems:
            print_line(f"{place}:{problem}")
    else:
        print_line(f"{name} is valid")
    if problems:
        raise typer.Exit(Exit.USAGE)


def _refuse_invalid(file: str, text: str) -> None:
    messages = [f"{file}:{problem}" for problem in problems_of(text)]
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
    handle = await start(client, name, text, data, queue=task_queues().engine)
    print_note(f"started {handle.id}")
    try:
        async with asyncio.timeout(longest.total_seconds()):
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
        f"`temporal workflow cancel -w {name}` stops it"
    )


def _validate_agents(file: str, text: str, output: Format) -> None:
    agents = definition_files.agents_of(file, text)
    if output is Format.JSON:
        print_json({"valid": True, "agents": [agent.name for agent in agents]})
        return
    for agent in agents:
        print_line(f"{agent.name} is well formed (`stigma agent apply --dry-run` checks the rest)")
