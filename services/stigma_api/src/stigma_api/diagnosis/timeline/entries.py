"""Entries of a timeline: made, closed, sorted, and worded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflow.v1 import PendingActivityInfo

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts.costs import cost_text
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma_api.diagnosis.attempt_texts import retry_text
from stigma_api.temporal.histories import Run

_MAX_TEXT = 200


def entry(
    step: TimelineStep.ValueType,
    run: Run,
    time: Timestamp,
    title: str,
    *,
    detail: str = "",
    attempt: int = 0,
    fingerprint: str = "",
    failed: bool = False,
    open: bool = False,  # noqa: A002 - the field's name
) -> TimelineEntry:
    """Return an entry; texts are cut to one line."""
    return TimelineEntry(
        step=step,
        time=time,
        title=one_line(title),
        detail=one_line(detail),
        attempt=attempt,
        fingerprint=fingerprint,
        failed=failed,
        open=open,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
    )


def close(
    opened: TimelineEntry, time: Timestamp, detail: str = "", *, failed: bool = False
) -> None:
    """Close an entry at a time."""
    duration = time.ToNanoseconds() - opened.time.ToNanoseconds()
    opened.duration.FromNanoseconds(max(duration, 0))
    opened.open = False
    opened.detail = one_line(detail)
    opened.failed = failed


def add_attempts(
    by_activity: Mapping[str, TimelineEntry], pending: Iterable[PendingActivityInfo]
) -> None:
    """Add what no history has yet: the attempts of activities under way."""
    for each in pending:
        opened = by_activity.get(each.activity_id)
        if opened is None or not opened.open:
            continue
        opened.attempt = max(each.attempt, 1)
        if each.HasField("last_failure"):
            opened.detail = retry_text(each)


def sort_entries(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """Sort by time; entries of the same time stay in the order of a call's life."""
    return sorted(entries, key=lambda each: (each.time.ToNanoseconds(), each.step))


def usage_text(usage: Usage) -> str:
    """Return what model calls used, for people; empty when they used nothing."""
    tokens = usage.input_tokens + usage.output_tokens
    parts = (f"{tokens:,} tokens" if tokens else "", cost_text(usage))
    return ", ".join(part for part in parts if part)


def add_usage(total: Usage, usage: Usage) -> None:
    """Add what calls used to a total."""
    for field, value in usage.ListFields():
        setattr(total, field.name, getattr(total, field.name) + value)


def span(start: datetime, end: datetime) -> tuple[Timestamp, Duration]:
    """Return a start and a duration; the duration is never negative."""
    time, duration = Timestamp(), Duration()
    time.FromDatetime(start.astimezone(UTC))
    duration.FromTimedelta(max(end - start, timedelta()))
    return time, duration


def one_line(text: str) -> str:
    """Return the text on one line, cut to what fits beside others."""
    shown = " ".join(text.split())
    return shown if len(shown) <= _MAX_TEXT else f"{shown[: _MAX_TEXT - 1]}…"
