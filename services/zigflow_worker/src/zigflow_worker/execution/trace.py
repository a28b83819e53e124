"""The task trace: what ran, in order, bounded."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from zigflow_worker.expressions import JSON

MAX_ENTRIES = 1_000
"""The latest tasks are kept."""

POINTER, NAME, STATUS, STARTED, ENDED, ATTEMPT, EXECUTION = range(7)


class Trace:
    """One entry for each task that began, oldest first."""

    def __init__(self, entries: list[list[JSON]] | None = None) -> None:
        self.entries: deque[list[JSON]] = deque(entries or (), maxlen=MAX_ENTRIES)

    def begin(self, pointer: str, name: str, started: float, attempt: int) -> list[JSON]:
        """Add a task that begins; the entry is changed when it ends."""
        entry: list[JSON] = [pointer, name, "running", started, None, attempt, None]
        self.entries.append(entry)
        return entry

    def add_completed(self, pointer: str, name: str, now: float, attempt: int) -> None:
        """Add a task that began and ended within an instant."""
        self.entries.append([pointer, name, "completed", now, now, attempt, None])

    def report(self) -> list[dict[str, JSON]]:
        """Return the trace as a query answers it; times are ISO 8601."""
        return [_described(entry) for entry in self.entries]


def _described(entry: list[JSON]) -> dict[str, JSON]:
    description: dict[str, JSON] = {
        "pointer": entry[POINTER],
        "name": entry[NAME],
        "status": entry[STATUS],
        "started": iso8601(entry[STARTED]),
        "ended": iso8601(entry[ENDED]),
        "attempt": entry[ATTEMPT],
    }
    if entry[EXECUTION] is not None:
        description["executionId"] = entry[EXECUTION]
    return description


def iso8601(timestamp: JSON) -> str | None:
    """Return a Unix time as ISO 8601 in UTC, to the millisecond."""
    if not isinstance(timestamp, (int, float)):
        return None
    text = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def time_descriptor(timestamp: float) -> dict[str, JSON]:
    """Return a Unix time as the language describes times."""
    return {
        "iso8601": iso8601(timestamp),
        "epoch": {"seconds": int(timestamp), "milliseconds": round(timestamp * 1000)},
    }
