"""The chart of executions by outcome: stacked columns over a range of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stigma_api.console.rendering import constant_words
from stigma_api.console.searches import RANGE_NAMES, RANGES, Search
from stigma_api.executions.outcome_counts import OPEN

WIDTH, HEIGHT = 1000, 100
DEFAULT_RANGE = "24h"
COLUMNS = 24

# From the bottom of a column to its top.
_OUTCOMES = ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", OPEN)
_GAP = 6
_MIN_HEIGHT = 2.0


@dataclass(frozen=True)
class Segment:
    """One outcome in a column."""

    outcome: str
    y: float
    height: float


@dataclass(frozen=True)
class Column:
    """The executions that were started in one part of the range."""

    x: float
    width: float
    begin: datetime
    total: int
    segments: Sequence[Segment]


@dataclass(frozen=True)
class OutcomeChart:
    """The columns, and the sum of each outcome."""

    columns: Sequence[Column]
    totals: Sequence[tuple[str, int]]
    range: str
    range_name: str
    begin: datetime
    end: datetime
    highest: int
    """Number of executions of the highest column."""

    @property
    def summary(self) -> str:
        """The chart in words."""
        counts = ", ".join(f"{count} {constant_words(name)}" for name, count in self.totals)
        return f"Executions started in {self.range_name}: {counts or 'none'}"


def edges(search: Search) -> Sequence[datetime]:
    """Return the times between which executions are counted; the last 24 h without a range."""
    end, span = search.end, RANGES[_range(search)]
    return [end - span + span * index / COLUMNS for index in range(COLUMNS + 1)]


def outcome_chart(
    search: Search, times: Sequence[datetime], counts: Sequence[Mapping[str, int]]
) -> OutcomeChart:
    """Lay out counts between times."""
    sums: Counter[str] = sum(map(Counter, counts), Counter())
    highest = max((sum(each.values()) for each in counts), default=0)
    width = WIDTH / COLUMNS
    columns = [
        Column(
            x=round(index * width + _GAP / 2, 1),
            width=round(width - _GAP, 1),
            begin=times[index],
            total=sum(each.values()),
            segments=_segments(each, highest),
        )
        for index, each in enumerate(counts)
    ]
    return OutcomeChart(
        columns=columns,
        totals=[(name, sums[name]) for name in _OUTCOMES if sums[name]],
        range=_range(search),
        range_name=RANGE_NAMES[_range(search)],
        begin=times[0],
        end=times[-1],
        highest=highest,
    )


def _segments(counts: Mapping[str, int], highest: int) -> Sequence[Segment]:
    bottom = float(HEIGHT)
    segments = []
    for outcome in _OUTCOMES:
        if count := counts.get(outcome, 0):
            height = max(HEIGHT * count / highest, _MIN_HEIGHT)
            bottom = max(bottom - height, 0.0)
            segments.append(Segment(outcome, round(bottom, 1), round(height, 1)))
    return segments


def _range(search: Search) -> str:
    return search.range if search.range in RANGES else DEFAULT_RANGE
