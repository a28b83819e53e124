"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stigma.contracts.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("3d", 259_200),
        ("1d12h", 129_600),
        ("2m1s5ms", 121.005),
        ("PT30S", 30),
        ("P1W", 7 * 86_400),
        ("P1D", 86400),
        ("P1DT2H3M4.5S", 93784.5),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "5 min", "-3s", "P", "PT", "1d1", "1h1d", "9" * 30 + "h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "20 ms"),
        (1, "1.0 s"),
        (99.94, "99.9 s"),
        (150, "2 min 30 s"),
        (3599.6, "1 h 00 min"),
        (7300, "2 h 01 min"),
    ],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
