"""Entries of a timeline: how they are made, closed and put in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
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
    """Return an entry; what people wrote is cut to a line."""
    return TimelineEntry(
        step=step,
        time=time,
        title=line(title),
        detail=line(detail),
        attempt=attempt,
        fingerprint=fingerprint,
        failed=failed,
        open=open,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
    )


def close(
    of: TimelineEntry, event: HistoryEvent, detail: str = "", *, failed: bool = False
) -> None:
    """Say that what an entry is about ended with this event."""
    took = event.event_time.ToNanoseconds() - of.time.ToNanoseconds()
    of.duration.FromNanoseconds(max(took, 0))
    of.open = False
    of.detail = line(detail)
    of.failed = failed


def in_order(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """Sort by time; what falls into one moment stays in the order of a call's life."""
    return sorted(entries, key=lambda each: (each.time.ToNanoseconds(), each.step))


def why(failure: Failure) -> str:
    """Return the class of a failure; its text may quote a prompt, and stays out.

    For instance "RATE_LIMITED", "timed out: heartbeat" or "cancelled".
    """
    while failure.WhichOneof("failure_info") in _WRAPPERS and failure.HasField("cause"):
        failure = failure.cause
    match failure.WhichOneof("failure_info"):
        case "application_failure_info":
            # An error of a document is named by a URI, whose last part says it all.
            return failure.application_failure_info.type.rpartition("/")[2] or "failed"
        case "timeout_failure_info":
            name = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
            return f"timed out: {name.removeprefix('TIMEOUT_TYPE_').lower().replace('_', ' ')}"
        case "canceled_failure_info":
            return "cancelled"
        case "terminated_failure_info":
            return "terminated"
        case _:
            return "failed"


def used(usage: Usage) -> str:
    """Return what model calls took, for people; empty when they took nothing."""
    tokens = usage.input_tokens + usage.output_tokens
    cost = f"${usage.cost_usd:.4f}" if usage.cost_usd else ""
    return ", ".join(part for part in (f"{tokens:,} tokens" if tokens else "", cost) if part)


def between(start: datetime, end: datetime) -> tuple[Timestamp, Duration]:
    """Return a moment and how long it took from there."""
    time, took = Timestamp(), Duration()
    time.FromDatetime(start.astimezone(UTC))
    took.FromTimedelta(max(end - start, timedelta()))
    return time, took


def line(text: str) -> str:
    """Return the text on one line, cut to what fits beside others."""
    shown = " ".join(text.split())
    return shown if len(shown) <= _MAX_TEXT else f"{shown[: _MAX_TEXT - 1]}…"


_WRAPPERS = frozenset({"activity_failure_info", "child_workflow_execution_failure_info"})
