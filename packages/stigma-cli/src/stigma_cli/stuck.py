"""Stuck executions, as `stigma doctor` shows them: the reason, and the command that helps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stigma.contracts.diagnosis import stuck_reason_name
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    STUCK_REASON_INPUT_REQUIRED,
    ListStuckExecutionsRequest,
    ListStuckExecutionsResponse,
    StuckExecution,
)
from stigma_cli.connections import LONG_CALL_TIMEOUT_SECONDS, Api
from stigma_cli.output import as_duration, print_line


async def find_stuck(
    api: Api,
    min_age: timedelta,
    timeout: float = LONG_CALL_TIMEOUT_SECONDS,
) -> ListStuckExecutionsResponse:
    """List the executions that make no progress.

    Raises:
        CliError: they cannot be listed.
    """
    request = ListStuckExecutionsRequest()
    request.min_age.FromTimedelta(min_age)
    return await api.call(api.diagnosis.ListStuckExecutions, request, timeout)


def wrong(stuck: ListStuckExecutionsResponse) -> list[StuckExecution]:
    """Return the executions with a problem: waiting for a person is none."""
    return [each for each in stuck.executions if each.reason != STUCK_REASON_INPUT_REQUIRED]


def summary(stuck: ListStuckExecutionsResponse) -> str:
    """Return one line about all of them."""
    problems = len(wrong(stuck))
    found = f"{stuck.open} open, {problems or 'none'} stuck"
    if people := len(stuck.executions) - problems:
        found = f"{found}, {people} waiting for people"
    unseen = stuck.open - stuck.examined
    return f"{found} ({unseen} too young or too many to be looked at)" if unseen > 0 else found


def time_of(stuck: ListStuckExecutionsResponse) -> datetime:
    """Return Temporal's time at the answer; this machine's for an older API."""
    return stuck.time.ToDatetime(UTC) if stuck.HasField("time") else datetime.now(UTC)


def show(stuck: ListStuckExecutionsResponse) -> None:
    """Print each with its reason, and below it the command, to be copied."""
    for each in stuck.executions:
        name = f" {each.definition_id}" if each.definition_id else ""
        age, reason = _age(each, time_of(stuck)), stuck_reason_name(each.reason)
        print_line(f"\n{each.execution_id}{name}: {reason}, started {age} ago")
        print_line(f"  {each.message}")
        print_line(f"  $ {each.command}")


def _age(each: StuckExecution, now: datetime) -> str:
    age = now - each.start_time.ToDatetime(UTC)
    return as_duration(max(age, timedelta()))
