"""`stigma run` and `stigma validate`: workflow documents."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from stigma_cli.agent_files import KIND, parse_documents, read_agents, read_text
from stigma_cli.connections import connect_temporal, task_queues
from stigma_cli.durations import parse_duration
from stigma_cli.exits import CliError, Exit
from stigma_cli.output import Format, Output, print_json, print_line
from stigma_cli.progress import follow
from stigma_cli.runs import document_name, read_input, result, start

ENGINE = "zigflow_worker"

File = Annotated[Path, typer.Argument(help='The document, or "-" for stdin.')]


def run(
    file: File,
    input: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--input", "-i", help="The input: JSON, or @FILE with JSON.")
    ] = "null",
    watch: Annotated[bool, typer.Option("--watch", help="Show each task as it runs.")] = False,
    timeout: Annotated[
        str, typer.Option(help="Stop waiting after so long, for instance 10m; the run goes on.")
    ] = "24h",
    output: Output = Format.TEXT,
) -> None:
    """Run a workflow document and print its output."""
    text = read_text(file)
    name = document_name(str(file), text)
    try:
        data = read_input(input)
        longest = parse_duration(timeout)
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    asyncio.run(_run(name, text, data, watch=watch, longest=longest, output=output))


def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a workflow document, or a file of agents, without a server."""
    text = read_text(file)
    documents = parse_documents(str(file), text)
    if documents and isinstance(documents[0], dict) and documents[0].get("kind") == KIND:
        _validate_agents(file, output)
        return
    if importlib.util.find_spec(ENGINE) is None:
        raise CliError(
            f"workflow documents are checked by {ENGINE}, which is not installed here",
            "install stigma-zigflow-worker",
        )
    path = "/dev/stdin" if str(file) == "-" else str(file)
    command = [sys.executable, "-m", ENGINE, "validate", path, "--output", output.value]
    checked = subprocess.run(command, input=text, text=True, check=False)
    if checked.returncode != 0:
        raise typer.Exit(Exit.USAGE)
    if output is Format.TEXT:
        print_line(f"{file} is valid")


async def _run(
    name: str, text: str, data: Any, *, watch: bool, longest: timedelta, output: Format
) -> None:
    client = await connect_temporal()
    handle = await start(client, name, text, data, queue=task_queues().engine)
    try:
        async with asyncio.timeout(longest.total_seconds()):
            if watch and output is Format.TEXT:
                outcome = await follow(handle)
            else:
                outcome = await result(handle)
    except TimeoutError:
        raise CliError(
            f"{handle.id} has not ended within {longest}", "it goes on", code=Exit.UNREACHABLE
        ) from None
    if output is Format.JSON:
        print_json({"workflowId": handle.id, "runId": handle.result_run_id, "output": outcome})
    else:
        print_json(outcome)


def _validate_agents(file: Path, output: Format) -> None:
    agents = [agent for _, agent in read_agents([file])]
    if output is Format.JSON:
        print_json({"valid": True, "agents": [agent.name for agent in agents]})
        return
    for agent in agents:
        print_line(f"{agent.name} is well formed (`stigma agent apply --dry-run` checks the rest)")
