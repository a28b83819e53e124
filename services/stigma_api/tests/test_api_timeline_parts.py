"""Parts of a timeline that no server is needed for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts import payloads
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import Bind
from stigma_api.diagnosis.timeline import entries
from stigma_api.executions import history
from stigma_api.temporal import payloads as shown_payloads
from stigma_api.temporal.histories import Run

RUN = Run("default", "w", "r")


def failure(**info: Any) -> Failure:
    failed = Failure(message="a secret prompt")
    for name, fields in info.items():
        getattr(failed, name).SetInParent()
        for field, value in fields.items():
            setattr(getattr(failed, name), field, value)
    return failed


def caused(by: Failure, **info: Any) -> Failure:
    failed = failure(**info)
    failed.cause.CopyFrom(by)
    return failed


HEARTBEAT = TimeoutType.TIMEOUT_TYPE_HEARTBEAT
APPLICATION = failure(application_failure_info={"type": "RATE_LIMITED"})


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        (APPLICATION, "RATE_LIMITED"),
        (failure(application_failure_info={"type": "https://x.example/errors/timeout"}), "timeout"),
        (failure(application_failure_info={}), "failed"),
        (failure(timeout_failure_info={"timeout_type": HEARTBEAT}), "timed out: heartbeat"),
        (failure(canceled_failure_info={}), "cancelled"),
        (failure(terminated_failure_info={}), "terminated"),
        (failure(server_failure_info={}), "failed"),
        (caused(APPLICATION, activity_failure_info={}), "RATE_LIMITED"),
        (caused(APPLICATION, child_workflow_execution_failure_info={}), "RATE_LIMITED"),
        (failure(activity_failure_info={}), "failed"),
    ],
)
def test_of_a_failure_its_class_is_told_and_never_its_text(failed: Failure, told: str) -> None:
    assert entries.failure_class(failed) == told


def test_what_people_wrote_is_one_line_and_cut() -> None:
    assert entries.one_line(" a\n b\tc ") == "a b c"
    assert entries.one_line("x" * 200) == "x" * 200
    assert entries.one_line("x" * 201) == "x" * 199 + "…"


def test_what_falls_into_one_moment_is_in_the_order_of_a_call() -> None:
    moment = Timestamp(seconds=5)
    made = [
        entries.entry(step, RUN, moment, "t")
        for step in (pb.TIMELINE_STEP_PENDING, pb.TIMELINE_STEP_TAKEN)
    ]
    earlier = entries.entry(pb.TIMELINE_STEP_ENDED, RUN, Timestamp(seconds=4), "t")
    assert entries.sort_entries([*made, earlier]) == [earlier, made[1], made[0]]


def test_what_calls_took_is_told_as_far_as_it_is_known() -> None:
    assert entries.usage_text(Usage()) == ""
    assert entries.usage_text(Usage(input_tokens=1200, output_tokens=4)) == "1,204 tokens"
    assert entries.usage_text(Usage(output_tokens=1, cost_usd=0.25)) == "1 tokens, $0.2500"


def test_a_clock_that_goes_back_makes_no_negative_duration() -> None:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    time, took = entries.span(begun, begun - timedelta(seconds=1))
    assert (time.ToDatetime(UTC), took.ToTimedelta()) == (begun, timedelta())


@pytest.mark.parametrize("told", [None, "x", {}, {"seconds": 1}, {"seconds": 10**20, "nanos": 0}])
def test_an_odd_time_in_a_marker_is_none(told: Any) -> None:
    assert history._marker_time(told) is None


async def test_one_odd_payload_hides_nothing_else(client: Client) -> None:
    good = payloads.binary_payload(Bind(token=b"t"))
    bad = Payload(metadata={"encoding": b"json/plain"}, data=b"[1")
    assert (await shown_payloads.message(client, [good, bad], Bind)).token == b"t"
    for content in ([], [bad]):
        assert await shown_payloads.message(client, content, Bind) == Bind()
        assert await shown_payloads.plain(client, content) == {}
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'{"a": 1}')
    listed = Payload(metadata={"encoding": b"json/plain"}, data=b"[1]")
    assert await shown_payloads.plain(client, [plain]) == {"a": 1}
    assert await shown_payloads.plain(client, [listed]) == {}
