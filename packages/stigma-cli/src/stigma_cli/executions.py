"""`stigma execution`: what agents do and did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import grpc
import typer

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecution,
    AgentExecutionPhase,
    CallbackState,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    AGENT_EXECUTION_VIEW_BASIC,
    AGENT_EXECUTION_VIEW_FULL,
    CancelAgentExecutionRequest,
    GetAgentExecutionRequest,
    ListAgentExecutionsRequest,
    WatchAgentExecutionRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.errors import reason_name
from stigma.contracts.phases import has_ended
from stigma_cli.connections import Api, open_api
from stigma_cli.exits import CliError, Exit, of_api
from stigma_cli.output import (
    Format,
    Output,
    as_json,
    as_time,
    print_json,
    print_json_line,
    print_line,
    print_table,
)

app = typer.Typer(help="Show, follow and cancel executions of agents.", no_args_is_help=True)

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]

# A stream that breaks is resumed after its last event; so often in a row without a new one.
_RESUMES = 5
_RESUME_WAIT_SECONDS = 1.0
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@app.command()
def get(
    execution: ExecutionId,
    full: Annotated[bool, typer.Option("--full", help="With the conversation.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Show one execution."""
    asyncio.run(_get(execution, full, output))


@app.command("list")
def list_(
    filter: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            metavar="CONDITIONS",
            help='Conditions joined by AND: agent = "name", phase = RUNNING, session = "…", '
            'labels.KEY = "…", start_time >= "2026-01-01T00:00:00Z".',
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Most executions shown.")
    ] = 50,
    output: Output = Format.TEXT,
) -> None:
    """List executions, open ones first, then the last closed."""
    asyncio.run(_list(filter, limit, output))


@app.command()
def watch(
    execution: ExecutionId,
    cursor: Annotated[str, typer.Option(metavar="CURSOR", help="Go on after this cursor.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Follow an execution to its end. Exits 1 unless it completes."""
    asyncio.run(_watch(execution, cursor, output))


@app.command()
def cancel(
    execution: ExecutionId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For people; recorded.")] = "",
    output: Output = Format.TEXT,
) -> None:
    """Ask an execution to stop."""
    asyncio.run(_cancel(execution, reason, output))


async def events(
    api: Api, execution_id: str, cursor: str
) -> AsyncIterator[WatchAgentExecutionResponse]:
    """Yield what happens to an execution until its end, over broken connections too.

    Raises:
        CliError: it cannot be watched, or the connection breaks again and again.
    """
    failures = 0
    while True:
        request = WatchAgentExecutionRequest(id=execution_id, cursor=cursor)
        try:
            async for event in api.executions.WatchAgentExecution(request, metadata=api.metadata):
                failures = 0
                cursor = event.cursor
                yield event
                if event.HasField("ended"):
                    return
        except grpc.aio.AioRpcError as error:
            failures += 1
            if error.code() not in _BROKEN or failures > _RESUMES:
                raise of_api(error, api.address) from None
        else:
            failures += 1
            if failures > _RESUMES:
                raise CliError("the API ends the stream too early", code=Exit.UNREACHABLE)
        await asyncio.sleep(_RESUME_WAIT_SECONDS)


def describe(event: WatchAgentExecutionResponse) -> str:
    """Return one event as a line for people."""
    match event.WhichOneof("event"):
        case "started":
            line = f"started {event.started.execution.spec.agent_id or 'an inline agent'}"
        case "callback_bound":
            line = f"a caller waits ({event.callback_bound.fingerprint})"
        case "model_call_started":
            line = f"model call {event.model_call_started.step}: {event.model_call_started.model}"
        case "model_call_completed":
            done = event.model_call_completed
            text = " ".join(part.text for part in done.message.parts if part.text)
            line = f"model call {done.step} answered: {text}"
        case "model_call_failed":
            failed = event.model_call_failed
            reason = reason_name(failed.failure.reason)
            line = f"model call {failed.step} failed: {reason}: {failed.failure.message}"
        case "cancel_requested":
            line = f"cancellation requested {event.cancel_requested.reason}"
        case "callback_delivering":
            fingerprint = event.callback_delivering.fingerprint
            line = f"delivering ({fingerprint})" if fingerprint else "delivering"
        case "ended":
            line = f"{phase_name(event.ended.execution)} {outcome(event.ended.execution)}"
        case _:
            line = "something this release of the command does not know"
    return line.rstrip()


def phase_name(execution: AgentExecution) -> str:
    """Return the phase without its prefix."""
    name = AgentExecutionPhase.Name(execution.status.phase)
    return name.removeprefix("AGENT_EXECUTION_PHASE_")


def outcome(execution: AgentExecution) -> str:
    """Return what came of an execution: its output, or why there is none."""
    status = execution.status
    if status.HasField("failure"):
        at = f" at {status.failure.step}" if status.failure.step else ""
        return f"{reason_name(status.failure.reason)}: {status.failure.message}{at}"
    return status.output.json or status.output.text


async def _get(execution_id: str, full: bool, output: Format) -> None:
    view = AGENT_EXECUTION_VIEW_FULL if full else AGENT_EXECUTION_VIEW_BASIC
    async with open_api() as api:
        request = GetAgentExecutionRequest(id=execution_id, view=view)
        execution = await api.call(api.executions.GetAgentExecution, request)
    if output is Format.JSON:
        print_json(as_json(execution))
        return
    for name, value in _rows(execution):
        if value:
            print_line(f"{name + ':':10}{value}")
    for message in execution.status.messages:
        text = " ".join(part.text or part.thinking for part in message.parts)
        print_line(f"{'user' if message.role == 1 else 'model'}: {text}")


async def _list(query: str, limit: int, output: Format) -> None:
    async with open_api() as api:
        request = ListAgentExecutionsRequest(filter=query, page_size=limit)
        page = await api.call(api.executions.ListAgentExecutions, request)
    if output is Format.JSON:
        print_json({"executions": [as_json(each) for each in page.executions]})
        return
    print_table(
        ("ID", "AGENT", "PHASE", "STARTED", "ENDED"),
        (
            (
                each.id,
                each.spec.agent_id or "(inline)",
                phase_name(each),
                _time(each, "start_time"),
                _time(each, "end_time"),
            )
            for each in page.executions
        ),
    )
    if page.next_page_token:
        print_line(f"(the first {limit}; see --limit and --filter)")


async def _watch(execution_id: str, cursor: str, output: Format) -> None:
    ended: AgentExecution | None = None
    async with open_api() as api:
        async for event in events(api, execution_id, cursor):
            if output is Format.JSON:
                print_json_line(as_json(event))
            else:
                time = as_time(event.time, timespec="milliseconds")
                print_line(f"{time}  {describe(event)}")
            if event.HasField("ended"):
                ended = event.ended.execution
    if ended is None or ended.status.phase != AGENT_EXECUTION_PHASE_COMPLETED:
        raise typer.Exit(Exit.FAILED)


async def _cancel(execution_id: str, reason: str, output: Format) -> None:
    async with open_api() as api:
        request = CancelAgentExecutionRequest(id=execution_id, reason=reason)
        execution = await api.call(api.executions.CancelAgentExecution, request)
    if output is Format.JSON:
        print_json(as_json(execution))
    elif has_ended(execution):
        print_line(f"{execution.id} had ended: {phase_name(execution)}")
    else:
        print_line(f"{execution.id} was asked to stop")


def _rows(execution: AgentExecution) -> list[tuple[str, str]]:
    status = execution.status
    callback = CallbackState.Name(status.callback.state).removeprefix("CALLBACK_STATE_")
    caller = execution.spec.caller
    return [
        ("id", execution.id),
        ("agent", execution.spec.agent_id or "(inline)"),
        ("phase", phase_name(execution)),
        ("outcome", outcome(execution)),
        ("steps", str(status.steps)),
        ("tokens", f"{status.usage.input_tokens} in, {status.usage.output_tokens} out"),
        ("cost", f"${status.usage.cost_usd:.4f}" if status.usage.cost_usd else ""),
        ("started", _time(execution, "start_time")),
        ("ended", _time(execution, "end_time")),
        ("deadline", _time(execution, "deadline")),
        ("session", execution.spec.session_id),
        ("caller", f"{caller.workflow_id} {caller.activity_id}".strip()),
        ("callback", callback if status.HasField("callback") else ""),
        ("request", execution.spec.request_id),
    ]


def _time(execution: AgentExecution, name: str) -> str:
    if not execution.status.HasField(name):  # type: ignore[arg-type] # one of three literals
        return ""
    return as_time(getattr(execution.status, name))
