"""Parts of a timeline that no server is needed for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import PendingActivityState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_APPROVED,
    INPUT_RESOLUTION_KIND_DENIED,
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_CLIENT_TOOL,
    PENDING_INPUT_KIND_QUESTION,
    InputResolution,
    PendingInput,
    Usage,
)
from stigma.contracts import payloads
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.internal.v1.execution_pb2 import Bind, PendingInputs, SendMessage
from stigma_api.diagnosis.attempt_texts import failing_text
from stigma_api.diagnosis.stuck.people import answer_command
from stigma_api.diagnosis.timeline import entries
from stigma_api.diagnosis.timeline.input_entries import InputEntries
from stigma_api.executions import history, history_facts
from stigma_api.temporal import payloads as shown_payloads
from stigma_api.temporal.failures import failure_class
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
    assert failure_class(failed) == told


SHUTDOWN = failure(application_failure_info={"type": "WorkerShutdown"})
LOST = failure(timeout_failure_info={"timeout_type": HEARTBEAT})
LATE = failure(timeout_failure_info={"timeout_type": TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE})
WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
RUNS = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


@pytest.mark.parametrize(
    ("activity", "last", "state", "told"),
    [
        ("call_http", LOST, RUNS, "X: its worker was lost, attempt 3 is under way"),
        ("call_http", LATE, WAITS, "X: its worker was lost, attempt 3 follows"),
        ("call_http", SHUTDOWN, RUNS, "X: its worker was stopped, attempt 3 is under way"),
        (
            "call_http",
            APPLICATION,
            RUNS,
            "X fails: the last attempt ended by RATE_LIMITED, attempt 3 is under way",
        ),
        ("call_agent", LOST, WAITS, "X: its heartbeats failed to come, attempt 3 follows"),
        (
            "a_tool",
            LATE,
            RUNS,
            "X fails: the last attempt ended by timed out: start to close, attempt 3 is under way",
        ),
    ],
)
def test_a_call_fails_only_where_an_attempt_failed_by_itself(
    activity: str, last: Failure, state: PendingActivityState.ValueType, told: str
) -> None:
    pending = PendingActivityInfo(attempt=3, state=state, last_failure=last)
    pending.activity_type.name = activity
    assert failing_text("X", pending) == told


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
    worded = Payload(metadata={"encoding": b"json/plain"}, data=b'"a word"')
    assert await shown_payloads.text(client, worded) == "a word"
    for odd in (bad, plain, Payload()):
        assert await shown_payloads.text(client, odd) == ""


def pending(
    number: int, kind: Any = PENDING_INPUT_KIND_APPROVAL, expires: int = 90
) -> PendingInput:
    return PendingInput(
        id=f"input-{number}",
        call_id=f"2-{number}",
        kind=kind,
        tool="refund",
        question="a secret?",
        request_time=Timestamp(seconds=number),
        expire_time=Timestamp(seconds=expires),
    )


class Inputs:
    """An execution's inputs, and the facts about them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.found = InputEntries()

    async def add(self, fact: type[Any], content: Any, time: int) -> None:
        payload = payloads.binary_payload(content)
        decoded = history_facts.Content(self.client, [payload], type(content))
        await self.found.add(RUN, fact(decoded), Timestamp(seconds=time))

    async def wait_for(self, *inputs: PendingInput, time: int) -> None:
        await self.add(history_facts.InputsChanged, PendingInputs(inputs=inputs), time)

    async def resolve(self, number: int, time: int, **fields: Any) -> None:
        resolution = InputResolution(input_id=f"input-{number}", **fields)
        await self.add(history_facts.InputResolved, resolution, time)

    def lines(self) -> list[str]:
        assert "secret" not in str(self.found.entries)
        return [
            f"{each.time.seconds}+{each.duration.seconds} {each.title}; "
            f"{'open' if each.open else each.detail}{'!' * each.failed}"
            for each in self.found.entries
        ]


async def test_each_input_is_an_entry_from_the_request_to_its_end(client: Client) -> None:
    inputs = Inputs(client)
    first, second = pending(1), pending(2, PENDING_INPUT_KIND_QUESTION)
    third, fourth = pending(3, PENDING_INPUT_KIND_CLIENT_TOOL, expires=20), pending(4)
    await inputs.wait_for(first, second, time=5)
    await inputs.wait_for(first, second, third, fourth, time=5)
    await inputs.resolve(1, 11, how=INPUT_RESOLUTION_KIND_APPROVED, by="bob", edited_digest="d")
    await inputs.wait_for(second, third, fourth, time=11)
    await inputs.resolve(1, 12, how=INPUT_RESOLUTION_KIND_DENIED, by="eve")  # a repetition
    await inputs.resolve(2, 13, how=INPUT_RESOLUTION_KIND_ANSWERED, by="alice")
    await inputs.resolve(9, 13, how=INPUT_RESOLUTION_KIND_ANSWERED, by="alice")  # left out
    await inputs.wait_for(third, fourth, time=13)
    await inputs.wait_for(fourth, time=21)
    sent = SendMessage(text="a secret", principal="alice")
    await inputs.add(history_facts.MessageSent, sent, 22)
    assert inputs.lines() == [
        "1+10 waits for the approval of refund (call 2-1); approved by bob, with other arguments",
        "2+11 waits for an answer to refund (call 2-2); answered by alice",
        "3+17 waits for a client to run refund (call 2-3); expired!",
        "4+0 waits for the approval of refund (call 2-4); open",
        "22+0 a message from alice; ",
    ]
    # A run that continues it has a memo of its own.
    await inputs.wait_for(fourth, time=30)
    assert len(inputs.lines()) == 5
    await inputs.wait_for(time=40)
    assert inputs.lines()[3] == (
        "4+36 waits for the approval of refund (call 2-4); no longer waited for"
    )


async def test_inputs_that_are_pending_at_the_end_are_closed_with_it(client: Client) -> None:
    inputs = Inputs(client)
    await inputs.wait_for(pending(1), pending(2, expires=8), time=5)
    inputs.found.close_open(Timestamp(seconds=9))
    assert inputs.lines() == [
        "1+8 waits for the approval of refund (call 2-1); given up!",
        "2+6 waits for the approval of refund (call 2-2); expired!",
    ]


async def test_how_an_input_was_resolved_is_told_of_later_releases_too(client: Client) -> None:
    inputs = Inputs(client)
    await inputs.wait_for(pending(1), pending(2), time=5)
    await inputs.resolve(1, 6, how=99)
    await inputs.resolve(2, 6, how=INPUT_RESOLUTION_KIND_APPROVED, by="bob", remembered=True)
    assert [each.detail for each in inputs.found.entries] == [
        "99",
        "approved by bob, for further calls too",
    ]


def test_a_command_names_the_input_where_there_are_several() -> None:
    approval, question = pending(1), pending(2, PENDING_INPUT_KIND_QUESTION)
    assert answer_command("agent-1", []) == "stigma execution get agent-1"
    assert answer_command("agent-1", [approval]) == "stigma execution approve agent-1"
    assert answer_command("agent-1", [question]) == "stigma execution answer agent-1"
    assert answer_command("agent-1", [approval, question]) == (
        "stigma execution approve agent-1 input-1"
    )
