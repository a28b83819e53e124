"""A timeline as a chart: start and width of each entry's bar."""

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
    TimelineEntry,
    TimelineStep,
)

WIDTH = 1000
_MIN_WIDTH = 6
_INTERVALS = 3


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
    """0 where the detail tells of it."""
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
    """Positions, each with its time since the start."""
    caller_unavailable: str
    truncated: bool


def layout(timeline: ExecutionTimeline, now: datetime) -> Chart:
    """Lay out a timeline; open entries reach up to now."""
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
        x = min(round(WIDTH * (offset / whole)), WIDTH - _MIN_WIDTH)
        width = round(WIDTH * ((span or timedelta()) / whole))
        bars.append(
            Bar(
                step=step_name(entry.step),
                title=entry.title,
                detail=entry.detail,
                lane=_lane(entry, timeline.caller.workflow_id),
                failed=entry.failed,
                open=entry.open,
                attempt=0 if f"attempt {entry.attempt}" in entry.detail else entry.attempt,
                fingerprint=entry.fingerprint,
                time=_time(entry),
                offset=offset,
                duration=span,
                x=x,
                width=max(_MIN_WIDTH, min(width, WIDTH - x)),
                workflow_id=entry.workflow_id,
                run_id=entry.run_id,
            )
        )
    ticks = [(WIDTH * at // _INTERVALS, whole * at / _INTERVALS) for at in range(_INTERVALS + 1)]
    return Chart(bars, ticks, timeline.caller_unavailable, timeline.truncated)


def step_name(step: TimelineStep.ValueType) -> str:
    """Return a step's name without its prefix, in lower case; its number where unnamed."""
    if step not in TimelineStep.values():
        return str(step)
    return TimelineStep.Name(step).removeprefix("TIMELINE_STEP_").lower()


def _lane(entry: TimelineEntry, caller: str) -> str:
    # That the caller waits is recorded in the execution's own history.
    waits = entry.step == TIMELINE_STEP_PENDING
    return "caller" if waits or (caller and entry.workflow_id == caller) else "execution"


def _duration(
    entry: TimelineEntry, entries: Sequence[TimelineEntry], now: datetime
) -> timedelta | None:
    """Return an entry's duration so far; None for an instant."""
    if entry.HasField("duration"):
        return entry.duration.ToTimedelta()
    if entry.step == TIMELINE_STEP_PENDING:
        return _wait(entry, entries, now)
    return max(now - _time(entry), timedelta()) if entry.open else None


def _wait(entry: TimelineEntry, entries: Sequence[TimelineEntry], now: datetime) -> timedelta:
    """Return the caller's wait: until it goes on, is answered, or another attempt waits."""
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
