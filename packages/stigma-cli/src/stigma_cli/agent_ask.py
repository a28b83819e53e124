"""`stigma agent ask`: one execution of an agent, and its answer."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, SessionPolicy
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Execution
from stigma_cli.connections import Api, open_api
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import cancel_execution
from stigma_cli.executions import (
    completed,
    follow_events,
    goes_on_when_interrupted,
    print_ended,
    print_started,
)
from stigma_cli.input_text import people_text
from stigma_cli.options import duration_of, not_empty
from stigma_cli.output import (
    Format,
    Output,
    as_duration,
    print_note,
)
from stigma_cli.quiet_executions import noted_events
from stigma_cli.run_inputs import read_input_text
from stigma_cli.terminal_text import escape_line

_STDIN = "-"
_MAX_MESSAGE_CHARACTERS = 4 * 1024 * 1024
_REASON = "stopped at the terminal"


class SessionPolicyName(StrEnum):
    """Behaviour while another execution of the session runs."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


def ask(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="NAME for the newest version, or NAME@VERSION.")
    ],
    message: Annotated[
        str, typer.Argument(metavar="[MESSAGE]", help='The task, or "-" for stdin.')
    ] = "",
    *,
    input: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option("--input", "-i", metavar="JSON", help="The input: JSON, or @FILE with JSON."),
    ] = "",
    session: Annotated[
        str | None,
        typer.Option(
            metavar="ID", callback=not_empty, help="Session whose conversation it goes on with."
        ),
    ] = None,
    session_policy: Annotated[
        SessionPolicyName | None,
        typer.Option(
            metavar="enqueue|reject|interrupt",
            help="While another one of the session runs: wait (the default), fail, or stop it "
            "after its step.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Label of the execution; may be repeated."),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            callback=not_empty,
            help="Of the request: asked again with the same, it is not started again.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print its events as they happen.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the execution's id instead of waiting.")
    ] = False,
    timeout: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="Stop waiting after so long, for instance 10m; it goes on."
        ),
    ] = "24h",
    output: Output = Format.TEXT,
) -> None:
    """Ask an agent, wait for its answer, and print that.

    Ctrl-C asks whether the execution is to stop, or, not at a terminal, says how to follow and stop
    it. Exits 1 unless it completes.
    """
    longest = duration_of("--timeout", timeout)
    request = StartAgentRequest(
        agent_id=agent,
        message=sys.stdin.read(_MAX_MESSAGE_CHARACTERS) if message == _STDIN else message,
        session_id=session or "",
        session_policy=SessionPolicy.Value(
            f"SESSION_POLICY_{session_policy.name if session_policy else 'UNSPECIFIED'}"
        ),
        labels=_labels(label or ()),
        request_id=request_id or uuid.uuid4().hex,
        partial_text=watch,
    )
    try:
        request.input_json = read_input_text(input) if input else ""
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    asyncio.run(_detached(request, output) if detach else _ask(request, watch, longest, output))


def _labels(given: Iterable[str]) -> dict[str, str]:
    labels = {}
    for each in given:
        key, mark, value = each.partition("=")
        if not (key and mark):
            raise CliError(f"--label: {each!r} is not KEY=VALUE", code=Exit.USAGE)
        labels[key] = value
    return labels


async def _detached(request: StartAgentRequest, output: Format) -> None:
    async with open_api() as api:
        started = await _start(api, request)
    print_started(started, output)


async def _start(api: Api, request: StartAgentRequest) -> AgentExecution:
    started: AgentExecution = await api.call_once(api.executions.StartAgent, request)
    if request.session_id and started.spec.agent.HasField("runtime"):
        print_note(f"{started.spec.agent_id} is an agent of your own: the session is only a label")
    return started


async def _ask(request: StartAgentRequest, watch: bool, longest: timedelta, output: Format) -> None:
    async with open_api() as api:
        started = await _start(api, request)
        print_note(f"started {started.id}")
        async with goes_on_when_interrupted(started.id), _stopped_if_wanted(api, started.id):
            try:
                async with asyncio.timeout(longest.total_seconds()):
                    if watch:
                        ended = await follow_events(api, started.id, output=output)
                    else:
                        ended = await _ended(api, started.id)
            except TimeoutError:
                message = f"{started.id} has not ended within {as_duration(longest)}"
                raise CliError(message, code=Exit.UNREACHABLE) from None
    if not watch:
        print_ended(ended, output)
    if not completed(ended):
        raise typer.Exit(Exit.FAILED)


async def _ended(api: Api, execution_id: str) -> Execution:
    """Return an execution once it has ended; say meanwhile what it asks people for."""
    async for event in noted_events(api, execution_id):
        if event.HasField("ended"):
            return event.ended.execution
        if isinstance(event, WatchAgentExecutionResponse) and event.HasField("input_requested"):
            print_note(escape_line(people_text(event)))
    raise CliError(f"the events of {execution_id} ended before it", code=Exit.UNREACHABLE)


@asynccontextmanager
async def _stopped_if_wanted(api: Api, execution_id: str) -> AsyncIterator[None]:
    """Ask on a Ctrl-C at a terminal whether an execution is to stop."""
    try:
        yield
    except asyncio.CancelledError:
        if sys.stdin.isatty() and _is_to_stop():
            await cancel_execution(api, execution_id, _REASON)
            print_note(f"{execution_id} was asked to stop")
            raise typer.Exit(130) from None
        raise


def _is_to_stop() -> bool:
    try:
        return typer.confirm("Stop it?", err=True)
    except typer.Abort:  # one more Ctrl-C, or the terminal's end
        return False
