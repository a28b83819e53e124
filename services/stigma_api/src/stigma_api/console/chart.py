"""A timeline as a chart: where each entry's bar begins, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    TIMELINE_STEP_DELIVERED,
    TIMELINE_STEP_ENDED,
    TIMELINE_STEP_PENDING,
    TIMELINE_STEP_RESUMED,
    ExecutionTimeline,
    StuckReason,
    TimelineEntry,
    TimelineStep,
)

WIDTH = 1000
_LEAST = 6
_LANES = 3


@dataclass(frozen=True)
class Bar:
    """One entry."""

    step: str
    title: str
    detail: str
    lane: str
    """`caller` or `execution`: whose workflow it is about."""
    failed: bool
    open: bool
    attempt: int
    fingerprint: str
    time: datetime
    offset: timedelta
    duration: timedelta | None
    x: int
    width: int
    workflow_id: str
    run_id: str


@dataclass(frozen=True)
class Chart:
    """All entries on one axis of `WIDTH` units."""

    bars: Sequence[Bar]
    ticks: Sequence[tuple[int, timedelta]]
    """Positions, and the time since the start that they stand for."""
    caller_unavailable: str
    truncated: bool


def draw(timeline: ExecutionTimeline, now: datetime) -> Chart:
    """Lay a timeline out; what goes on reaches up to now."""
    entries = timeline.entries
    if not entries:
        return Chart((), (), timeline.caller_unavailable, timeline.truncated)
    start = min(_time(entry) for entry in entries)
    spans = [_duration(entry, entries, now) for entry in entries]
    ends = [
        _time(entry) + (span or timedelta()) for entry, span in zip(entries, spans, strict=True)
    ]
    whole = max(max(ends) - start, timedelta(milliseconds=1))
    bars = []
    for entry, span in zip(entries, spans, strict=True):
        offset = _time(entry) - start
        x = min(round(WIDTH * (offset / whole)), WIDTH - _LEAST)
        width = round(WIDTH * ((span or timedelta()) / whole))
        bars.append(
            Bar(
                step=step_name(entry.step),
                title=entry.title,
                detail=entry.detail,
                lane=_lane(entry, timeline.caller.workflow_id),
                failed=entry.failed,
                open=entry.open,
                attempt=entry.attempt,
                fingerprint=entry.fingerprint,
                time=_time(entry),
                offset=offset,
                duration=span,
                x=x,
                width=max(_LEAST, min(width, WIDTH - x)),
                workflow_id=entry.workflow_id,
                run_id=entry.run_id,
            )
        )
    ticks = [(WIDTH * at // _LANES, whole * at / _LANES) for at in range(_LANES + 1)]
    return Chart(bars, ticks, timeline.caller_unavailable, timeline.truncated)


def step_name(step: TimelineStep.ValueType) -> str:
    """Return a step's name without its prefix, in lower case; its number where unnamed."""
    if step not in TimelineStep.values():
        return str(step)
    return TimelineStep.Name(step).removeprefix("TIMELINE_STEP_").lower()


def reason_name(reason: StuckReason.ValueType) -> str:
    """Return why an execution is stuck, without its prefix; its number where unnamed."""
    if reason not in StuckReason.values():
        return str(reason)
    return StuckReason.Name(reason).removeprefix("STUCK_REASON_")


def _lane(entry: TimelineEntry, caller: str) -> str:
    # What the caller does while it waits is said by the execution's own history.
    waits = entry.step == TIMELINE_STEP_PENDING
    return "caller" if waits or (caller and entry.workflow_id == caller) else "execution"


def _duration(
    entry: TimelineEntry, entries: Sequence[TimelineEntry], now: datetime
) -> timedelta | None:
    """Return how long an entry takes so far; None for a moment."""
    if entry.HasField("duration"):
        return entry.duration.ToTimedelta()
    if entry.step == TIMELINE_STEP_PENDING:
        return _wait(entry, entries, now)
    return max(now - _time(entry), timedelta()) if entry.open else None


def _wait(entry: TimelineEntry, entries: Sequence[TimelineEntry], now: datetime) -> timedelta:
    """Return how long the caller waits: until it goes on, is told, or another attempt waits."""
    start = _time(entry)
    for last in (TIMELINE_STEP_RESUMED, TIMELINE_STEP_DELIVERED, TIMELINE_STEP_ENDED):
        ends = [_time(other) for other in entries if other.step == last]
        if ends:
            break
    else:
        ends = [now]
    ends += [_time(e) for e in entries if e.step == TIMELINE_STEP_PENDING and _time(e) > start]
    return max(min(ends) - start, timedelta())


def _time(entry: TimelineEntry) -> datetime:
    return entry.time.ToDatetime(tzinfo=UTC)
