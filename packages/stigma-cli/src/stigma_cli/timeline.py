"""The hand-offs of a run in the order of time, from the services' logs and Temporal's history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import WorkflowHistory

# The events of the hand-off, in the order in which one call meets them: services' clocks tick in
# milliseconds, and several events fall into one.
ORDER = (
    "activity_scheduled",
    "token_taken",
    "start_requested",
    "request_received",
    "token_rejected",
    "workflow_started",
    "acknowledged",
    "pending",
    "model_call_started",
    "model_call_completed",
    "model_call_failed",
    "delivering",
    "delivered",
    "delivery_failed",
    "activity_completed",
    "resumed",
)

_ACTIVITY_PREFIX = "agent-"

# What an event adds to what is known of its call already, and what it means.
_DETAILS = {
    "token_taken": "token {callback_fingerprint}",
    "model_call_started": "step {step}, {model}",
    "model_call_completed": "step {step}, {duration_seconds:.2f} s",
    "model_call_failed": "step {step}",
    "pending": "waits without a worker",
    "delivering": "token {callback_fingerprint}",
}


@dataclass(frozen=True)
class Moment:
    """One hand-off."""

    time: datetime
    service: str
    event: str
    request_id: str
    detail: str = ""


def moments_of_logs(logs: Iterable[Path]) -> list[Moment]:
    """Read the hand-offs from JSON logs. Lines of another kind are passed over."""
    return [moment for log in logs for moment in _of_log(log)]


def moments_of_history(history: WorkflowHistory) -> list[Moment]:
    """Read from a caller's history when its calling activities were scheduled and completed."""
    requests: dict[int, str] = {}
    moments: list[Moment] = []
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        if event.HasField("activity_task_scheduled_event_attributes"):
            if not scheduled.activity_id.startswith(_ACTIVITY_PREFIX):
                continue
            requests[event.event_id] = scheduled.activity_id.removeprefix(_ACTIVITY_PREFIX)
            name, request = "activity_scheduled", requests[event.event_id]
        elif event.HasField("activity_task_completed_event_attributes"):
            completed = event.activity_task_completed_event_attributes
            name, request = "activity_completed", requests.get(completed.scheduled_event_id, "")
        else:
            continue
        if request:
            moments.append(Moment(_utc(event.event_time), "temporal", name, request))
    return moments


def in_order(moments: Iterable[Moment]) -> list[tuple[float, Moment]]:
    """Sort hand-offs; returns each with its milliseconds since the first."""
    ordered = sorted(moments, key=_position)
    return [
        ((moment.time - ordered[0].time) / timedelta(milliseconds=1), moment) for moment in ordered
    ]


def agents_of_logs(logs: Iterable[Path]) -> dict[str, str]:
    """Return the agent's name of each request id."""
    agents: dict[str, str] = {}
    for log in logs:
        for line in _lines(log):
            if line.get("request_id") and line.get("agent"):
                agents[line["request_id"]] = str(line["agent"])
    return agents


def _of_log(log: Path) -> Iterator[Moment]:
    for line in _lines(log):
        if line.get("event") not in ORDER or not line.get("request_id"):
            continue
        time = datetime.fromisoformat(line["timestamp"])
        yield Moment(time, line["service"], line["event"], line["request_id"], _detail(line))


def _detail(line: Mapping[str, Any]) -> str:
    try:
        return _DETAILS.get(line["event"], "").format_map(line)
    except (KeyError, ValueError):  # a service of another release logs other fields
        return ""


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for text in log.read_text(errors="replace").splitlines():
        if text.startswith("{"):
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # the last line, still being written
            if isinstance(line, dict):
                yield line


def _position(moment: Moment) -> tuple[datetime, int]:
    # History has microseconds, logs have milliseconds: compared as the coarser of the two.
    time = moment.time
    return time.replace(microsecond=time.microsecond // 1000 * 1000), ORDER.index(moment.event)


def _utc(time: Timestamp) -> datetime:
    return time.ToDatetime(UTC)
