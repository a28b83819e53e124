"""Watch events of what executions wait for: what nobody answered expired, or was given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_CANCELLED,
    INPUT_RESOLUTION_KIND_EXPIRED,
    InputResolution,
    PendingInput,
)
from stigma_api.executions.input_events import InputEvents

ASKED = datetime(2026, 1, 31, 12, tzinfo=UTC)


def after(minutes: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(ASKED + timedelta(minutes=minutes))
    return time


def asked(id_: str) -> PendingInput:
    return PendingInput(id=id_, arguments_digest="d", expire_time=after(10))


def test_what_nobody_answered_expired_at_its_time_or_was_cancelled_before() -> None:
    inputs = [asked("q-1"), asked("q-2"), asked("q-3")]
    for minutes, how, time in (
        (10, INPUT_RESOLUTION_KIND_EXPIRED, after(10)),
        (11, INPUT_RESOLUTION_KIND_EXPIRED, after(10)),
        (9, INPUT_RESOLUTION_KIND_CANCELLED, after(9)),
    ):
        events = InputEvents()
        requested = [each.input_requested.input.id for each in events.changed(inputs, after(0))]
        assert requested == ["q-1", "q-2", "q-3"]
        answer = InputResolution(input_id="q-2", how=INPUT_RESOLUTION_KIND_ANSWERED)
        answered = events.resolved(answer)
        assert answered is not None
        [resolved] = events.changed([asked("q-3")], after(minutes))
        resolution = resolved.input_resolved.resolution
        assert (resolution.input_id, resolution.how, resolution.time) == ("q-1", how, time)
