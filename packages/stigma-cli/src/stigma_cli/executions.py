"""`stigma execution`: what agents and workflows do and did."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED, AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.contracts.executions import Execution, phase_name
from stigma.contracts.phases import has_ended
from stigma_cli import input_answers
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import message_lines, usage_text
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import (
    Event,
    cancel_execution,
    get_execution,
)
from stigma_cli.execution_list import list_
from stigma_cli.execution_text import describe, outcome, rows
from stigma_cli.execution_timeline import timeline
from stigma_cli.input_calls import stop_after_step
from stigma_cli.live_text import live_text
from stigma_cli.output import (
    Format,
    Output,
    as_json,
    as_time,
    print_json,
    print_json_line,
    print_line,
    print_note,
)
from stigma_cli.quiet_executions import noted_events
from stigma_cli.run_ids import execution_of, is_run
from stigma_cli.terminal_text import escape_line

app = typer.Typer(
    help="Show, follow, answer and cancel executions.",
    no_args_is_help=True,
)

app.command()(timeline)
for _command in (
    input_answers.approve,
    input_answers.deny,
    input_answers.answer,
    input_answers.decline,
    input_answers.send,
):
    app.command()(_command)

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]


@app.command()
def get(
    execution: ExecutionId,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="With an agent's conversation, or a workflow's input and document."
        ),
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Show one execution, and what an open one waits for."""
    asyncio.run(_get(execution, full, output))


app.command("list")(list_)


@app.command()
def watch(
    execution: ExecutionId,
    cursor: Annotated[str, typer.Option(metavar="CURSOR", help="Go on after this cursor.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Follow an execution to its end. Exits 1 unless it completes.

    Of a workflow, the calls and timers of its document are shown as they start and end.

    What a model writes is shown live on a terminal, if the start has asked for partial text.
    """
    asyncio.run(_watch(execution, cursor, output))


@app.command()
def cancel(
    execution: ExecutionId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For people; recorded.")] = "",
    after_step: Annotated[
        bool,
        typer.Option(
            "--after-step", help="Let an agent's calls under way end, instead of stopping them."
        ),
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Ask an execution to stop, or a run of `stigma run`.

    Of a run, its workflow in Temporal is cancelled; the engine cancels what its tasks wait for.
    """
    if is_run(execution):
        if after_step:
            raise CliError("--after-step is for agents", code=Exit.USAGE)
        asyncio.run(_cancel_run(execution, reason, output))
    else:
        asyncio.run(_cancel(execution_of(execution), reason, output, after_step=after_step))


async def follow_events(
    api: Api,
    execution_id: str,
    cursor: str = "",
    output: Format = Format.TEXT,
    see: Callable[[Event], Awaitable[bool]] | None = None,
    *,
    is_known: bool = True,
) -> Execution:
    """Print the events of an execution, a line each; return it as it ended.

    What a model writes meanwhile is shown below them on a terminal, and in JSON.

    Args:
        api: where it runs.
        execution_id: which.
        cursor: go on after this event.
        output: lines for people, or JSON.
        see: is called with each event before that is printed; returns whether it is shown already.
        is_known: as for `events`.
    """
    event: Event = WatchAgentExecutionResponse()
    with live_text() as live:
        async for event in noted_events(api, execution_id, cursor, is_known=is_known):
            if see is not None and await see(event):
                continue
            if output is Format.JSON:
                print_json_line(as_json(event))
            elif isinstance(event, WatchAgentExecutionResponse) and event.HasField("progress"):
                live.show(event.progress)
            else:
                live.clear()
                time = as_time(event.time, timespec="milliseconds")
                print_line(f"{time}  {escape_line(describe(event))}")
    ended = event.ended.execution
    if (
        output is Format.TEXT
        and isinstance(ended, AgentExecution)
        and ended.status.usage.tool_calls
    ):
        print_line(f"usage: {usage_text(ended.status.usage)}")
    return ended


@asynccontextmanager
async def goes_on_when_interrupted(
    execution_id: str, is_known: Callable[[], bool] = lambda: True
) -> AsyncIterator[None]:
    """Say on an interrupt, or when the API is lost, how to follow and stop what goes on.

    Args:
        execution_id: of what goes on.
        is_known: returns False as long as nothing was heard of it: then nothing is said.
    """
    name = shlex.quote(execution_id)
    hint = (
        f"it goes on: `stigma execution watch {name}` follows it, "
        f"`stigma execution cancel {name}` stops it"
    )
    try:
        yield
    except asyncio.CancelledError:
        if is_known():
            print_note(hint)
        raise
    except CliError as error:
        if error.code is not Exit.UNREACHABLE or not is_known():
            raise
        raise CliError(error.message, hint, code=error.code) from None


def completed(ended: Execution) -> bool:
    """Return whether an execution completed."""
    return ended.status.phase == AGENT_EXECUTION_PHASE_COMPLETED


def print_started(started: Execution, output: Format) -> None:
    """Print the id of an execution, or the execution as JSON."""
    if output is Format.JSON:
        print_json(as_json(started))
    else:
        print_line(started.id)


def print_ended(ended: Execution, output: Format) -> None:
    """Print the outcome of an execution, or the execution as JSON."""
    if output is Format.JSON:
        print_json(as_json(ended))
    else:
        print_line(outcome(ended))


async def _get(execution_id: str, full: bool, output: Format) -> None:
    async with open_api() as api:
        execution = await get_execution(api, execution_id, full=full, pending_steps=True)
    if output is Format.JSON:
        print_json(as_json(execution))
        return
    for name, value in rows(execution):
        if value:
            print_line(f"{name + ':':9} {value}")
    if isinstance(execution, AgentExecution):
        for message in execution.status.messages:
            for line in message_lines(message):
                print_line(line)


async def _watch(execution_id: str, cursor: str, output: Format) -> None:
    seen = False

    async def see(_event: Event) -> bool:
        nonlocal seen
        seen = True
        return False

    async with open_api() as api, goes_on_when_interrupted(execution_id, lambda: seen):
        ended = await follow_events(api, execution_id, cursor, output, see, is_known=False)
    if not completed(ended):
        raise typer.Exit(Exit.FAILED)


async def _cancel(execution_id: str, reason: str, output: Format, *, after_step: bool) -> None:
    stop = stop_after_step if after_step else cancel_execution
    async with open_api() as api:
        execution = await stop(api, execution_id, reason)
    if output is Format.JSON:
        print_json(as_json(execution))
    elif has_ended(execution):
        print_line(f"{execution.id} had ended: {phase_name(execution)}")
    else:
        print_line(f"{execution.id} was asked to stop")


async def _cancel_run(workflow_id: str, reason: str, output: Format) -> None:
    from stigma_cli.run_cancels import cancel_run  # noqa: PLC0415 - Temporal's client

    ended = await cancel_run(workflow_id, reason)
    if output is Format.JSON:
        print_json({"workflowId": workflow_id, "ended": ended or None})
    elif ended:
        print_line(f"{workflow_id} had ended: {ended}")
    else:
        print_line(f"{workflow_id} was asked to stop")
