"""`stigma doctor`: checks of an installation, each with its fix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer
from temporalio.api.enums.v1 import TaskQueueType

from stigma.agent.v1.agent_service_pb2 import ListAgentsRequest
from stigma.contracts import limits
from stigma.diagnosis.v1.diagnosis_service_pb2 import ListStuckExecutionsResponse
from stigma_cli import stuck
from stigma_cli.connections import open_api, task_queues
from stigma_cli.errors import CliError, Exit
from stigma_cli.namespaces import missing_attributes, retention_of
from stigma_cli.options import duration_of
from stigma_cli.output import Format, Output, as_duration, as_json, print_json, print_line
from stigma_cli.pollers import Poller, QueueState, find_queue_state, poller_lines
from stigma_cli.setup import LEAST_RETENTION
from stigma_cli.temporal_connections import (
    connect_temporal,
    no_answer,
    temporal_address,
    temporal_call,
)

_TIMEOUT_SECONDS = 8.0
"""The API itself looks for stuck executions for 6 s."""
_ANSWER_SECONDS = 5.0
_WORKFLOWS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_ACTIVITIES = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


@dataclass(frozen=True)
class Check:
    """The result of one check. `fix` is set when it failed."""

    name: str
    found: str
    fix: str = ""
    lines: Sequence[str] = ()
    """Details of what was found."""
    pollers: Sequence[Poller] | None = None
    """Of a task queue."""

    @property
    def ok(self) -> bool:
        """True when the check passed."""
        return not self.fix


def doctor(
    min_age: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Leave out executions younger than this."),
    ] = "1m",
    output: Output = Format.TEXT,
) -> None:
    """Check an installation, and find stuck executions.

    Exits 1 when anything is wrong.
    """
    checks, found = asyncio.run(_all(duration_of("--min-age", min_age)))
    if output is Format.JSON:
        print_json(
            {
                "ok": all(check.ok for check in checks),
                "checks": [_as_json(each) for each in checks],
                "stuck": [as_json(each) for each in found.executions],
            }
        )
    else:
        for check in checks:
            print_line(f"{'ok' if check.ok else 'WRONG':6}{check.name}: {check.found}")
            for line in filter(None, (*check.lines, check.fix)):
                print_line(f"      {line}")
        stuck.show(found)
    if not all(check.ok for check in checks):
        raise typer.Exit(Exit.FAILED)


def _as_json(check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": check.name,
        "ok": check.ok,
        "found": check.found,
        "fix": check.fix,
    }
    if check.pollers is not None:
        told["pollers"] = [
            {"identity": each.identity, "lastSeen": each.last_seen.isoformat()}
            for each in check.pollers
        ]
    return told


async def _all(min_age: timedelta) -> tuple[list[Check], ListStuckExecutionsResponse]:
    """Ask both servers at once: one that hangs is told in seconds, with what the other says."""
    asking = asyncio.create_task(_api(min_age))
    of_temporal = asyncio.create_task(_temporal_in_time(asking))
    try:
        checks, found = await asking
        return [*checks, *await of_temporal], found
    finally:
        of_temporal.cancel()
        await asyncio.wait([of_temporal])


async def _temporal_in_time(
    asking: asyncio.Task[tuple[list[Check], ListStuckExecutionsResponse]],
) -> list[Check]:
    checks: list[Check] = []
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS) as limit:
            async for check in _temporal(asking, limit):
                checks.append(check)  # noqa: PERF401 - those that are there count
    except TimeoutError:
        error = no_answer(temporal_address())
        checks.append(Check("temporal", error.message, error.hint))
    return checks


async def _api(min_age: timedelta) -> tuple[list[Check], ListStuckExecutionsResponse]:
    checks: list[Check] = []
    try:
        async with open_api() as api:
            first = ListAgentsRequest(page_size=1)
            await api.call(api.agents.ListAgents, first, _ANSWER_SECONDS)
            checks.append(Check("api", f"answers at {api.address}"))
            found = await stuck.find_stuck(api, min_age, _TIMEOUT_SECONDS)
    except CliError as error:
        if checks and error.code is Exit.USAGE:
            raise
        name = "executions" if checks else "api"
        checks.append(Check(name, error.message, error.hint or _api_fix(error)))
        return checks, ListStuckExecutionsResponse()
    fix = "see below" if stuck.wrong(found) else ""
    return [*checks, Check("executions", stuck.summary(found), fix), _clock(found)], found


def _api_fix(error: CliError) -> str:
    """Return where the cause of an error of the API is found: a bad connection is never made."""
    own = "see STIGMA_API_* in the environment of this command"
    return own if error.code is Exit.USAGE else "see the API's log"


def _clock(found: ListStuckExecutionsResponse) -> Check:
    skew = found.clock_skew.ToTimedelta()
    if abs(skew) <= limits.MAX_CLOCK_SKEW:
        return Check("clock", "the API's agrees with Temporal's")
    side = "ahead of" if skew > timedelta() else "behind"
    text = f"the API's is {as_duration(abs(skew))} {side} Temporal's"
    return Check("clock", text, "set the clock of the wrong machine, and keep it by NTP")


async def _temporal(
    asking: asyncio.Task[tuple[list[Check], ListStuckExecutionsResponse]],
    limit: asyncio.Timeout,
) -> AsyncIterator[Check]:
    try:
        address = temporal_address()
        client = await connect_temporal()
        kept = await temporal_call(retention_of(client), address)
        yield Check("temporal", f"answers at {address}, namespace {client.namespace}")
        fix = "" if kept >= LEAST_RETENTION else "run `stigma setup --raise-retention`"
        yield Check("retention", f"closed executions are kept {as_duration(kept)}", fix)
        missing = await temporal_call(missing_attributes(client), address)
        found = f"missing: {', '.join(missing)}" if missing else "registered"
        yield Check("search attributes", found, "run `stigma setup`" if missing else "")
    except CliError as error:
        yield Check("temporal", error.message, error.hint or "see Temporal's log")
        return
    limit.reschedule(None)  # the API's time is not Temporal's
    now = stuck.time_of((await asyncio.shield(asking))[1])
    limit.reschedule(asyncio.get_running_loop().time() + _ANSWER_SECONDS)
    queues = task_queues()
    for queue, kinds, service in (
        (queues.orchestrator, (_WORKFLOWS, _ACTIVITIES), "stigma_orchestrator"),
        (queues.watch, (_ACTIVITIES,), "stigma_orchestrator"),
        (queues.ai, (_ACTIVITIES,), "ai_worker"),
        (queues.engine, (_WORKFLOWS, _ACTIVITIES), "zigflow_worker"),
    ):
        state = await find_queue_state(client, queue, kinds, now)
        all_gone = state.has_worker is False
        lines = tuple(poller_lines(state.pollers, now, all_gone=all_gone))
        fix = _queue_fix(state, service)
        yield Check(f"task queue {queue}", state.text, fix, lines, state.pollers)


def _queue_fix(state: QueueState, service: str) -> str:
    if state.is_served:
        return ""
    if state.has_worker:
        return f"start more of {service}, or see what holds its slots; does it hang?"
    return f"start {service}; does its STIGMA_TASK_QUEUE_PREFIX agree?"
