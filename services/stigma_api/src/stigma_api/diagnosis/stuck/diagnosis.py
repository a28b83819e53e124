"""Diagnoses, and durations as they say them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from stigma.diagnosis.v1.diagnosis_service_pb2 import StuckReason


@dataclass(frozen=True)
class Diagnosis:
    """The reason why an execution makes no progress, and a command that helps."""

    reason: StuckReason.ValueType
    message: str
    command: str


def duration_text(time: timedelta) -> str:
    """Return a duration for people: its two largest units."""
    seconds = int(time.total_seconds())
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts = []
    for size, name in units:
        if seconds >= size:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
    return " ".join(parts[:2]) or "0 s"
