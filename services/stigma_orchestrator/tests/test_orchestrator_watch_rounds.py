"""Rounds of looks: what is due within a second is done together, and never late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stigma_orchestrator.delivery.kept_watches import last_round

TIMES = st.floats(0, 1e7)


@given(TIMES, st.floats(0.1, 1e5))
def test_a_round_is_within_the_delay_and_early_by_a_tenth_at_most(now: float, delay: float) -> None:
    due = last_round(now, delay)
    assert now + delay - min(1.0, delay / 10) - 1e-6 <= due <= now + delay


@given(TIMES, st.lists(st.floats(67.5, 75), min_size=2, max_size=300))
def test_looks_of_long_waits_share_rounds(now: float, delays: list[float]) -> None:
    assert len({last_round(now, delay) for delay in delays}) <= 9
