"""Times of kept watches: looks in rounds of a second, never late, and few heartbeats."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stigma.agent.v1.agent_execution_pb2 import TemporalCaller
from stigma_orchestrator.delivery.caller_timeouts import declared_interval, watch_heartbeat_timeout
from stigma_orchestrator.delivery.watch_schedule import WatchSchedule, last_round

TIMES = st.floats(0, 1e7)
DECLARED = st.floats(60, 86_400)
RETRY_SECONDS = 5


@given(TIMES, st.floats(0.1, 1e5))
def test_a_round_is_within_the_delay_and_early_by_a_tenth_at_most(now: float, delay: float) -> None:
    due = last_round(now, delay)
    assert now + delay - min(1.0, delay / 10) - 1e-6 <= due <= now + delay


@given(TIMES, st.lists(st.floats(67.5, 75), min_size=2, max_size=300))
def test_looks_of_long_waits_share_rounds(now: float, delays: list[float]) -> None:
    assert len({last_round(now, delay) for delay in delays}) <= 9


def visits(declared: float, began: float, count: int) -> Iterator[tuple[float, bool, bool]]:
    """Yield the time of each visit of a caller, and whether it is a look and a heartbeat."""
    caller = TemporalCaller()
    caller.heartbeat_timeout.FromTimedelta(timedelta(seconds=declared))
    timeout = watch_heartbeat_timeout(caller)
    assert timeout is not None
    schedule = WatchSchedule(timeout.total_seconds(), began)
    schedule.looked(began, declared_interval(caller).total_seconds())
    for _ in range(count):
        now = schedule.due() + 0.01
        if looks := schedule.needs_look(now):
            schedule.looked(now, declared_interval(caller).total_seconds())
        if beats := schedule.needs_beat():
            schedule.beaten(now)
        yield now, looks, beats


@given(DECLARED, TIMES)
def test_a_caller_outlives_a_watch_whose_worker_is_lost(declared: float, began: float) -> None:
    caller = TemporalCaller()
    caller.heartbeat_timeout.FromTimedelta(timedelta(seconds=declared))
    timeout = watch_heartbeat_timeout(caller)
    assert timeout is not None
    looked = beaten = began
    for now, looks, beats in visits(declared, began, 40):
        assert now < looked + declared / 4 + 0.02
        assert now < beaten + timeout.total_seconds()
        looked, beaten = now if looks else looked, now if beats else beaten
        taken_over = beaten + timeout.total_seconds() + RETRY_SECONDS
        assert taken_over + 10 < looked + declared


def test_a_watch_beats_at_every_third_look_and_at_no_other_time() -> None:
    times, looks, beats = zip(*visits(300, 1000.5, 31), strict=True)
    assert all(looks)
    assert [number for number, beat in enumerate(beats) if beat] == [*range(2, 31, 3)]
    assert {round(later - earlier) for earlier, later in pairwise(times)} == {75}


def test_looks_that_are_late_together_do_not_stay_together() -> None:
    """As after an outage: many are looked at in one moment."""
    after = []
    for _ in range(200):
        schedule = WatchSchedule(252, 0)
        schedule.looked(0, 75)
        schedule.looked(schedule.look_due + 60, 75)
        after.append(schedule.look_due)
    assert max(after) - min(after) > 10
