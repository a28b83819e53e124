"""Durations: ISO 8601, or a map of units. In seconds."""

from __future__ import annotations

import re

from zigflow_worker.expressions import JSON

MAX_SECONDS = 100 * 365 * 86_400.0
"""A century: longer timers are a mistake, and overflow Temporal's."""

_ISO = re.compile(
    r"P(?!$)(?:(\d+(?:\.\d+)?)Y)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)W)?(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_ISO_SECONDS = (365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3_600, 60, 1)
_SPOKEN = re.compile(
    r"(\d+) ?(days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])", re.IGNORECASE
)
_UNIT_SECONDS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1, "milliseconds": 0.001}

UNITS = tuple(_UNIT_SECONDS)


def seconds_of(value: JSON, *, floats: bool = True) -> float:
    """Return the seconds of a duration (raises ValueError).

    A year is 365 days and a month 30: durations do not depend on when they begin. `floats`: take
    20.0 for a whole number, as 0.1.0 did not.
    """
    if isinstance(value, str):
        seconds = _iso_seconds(value.strip())
    elif isinstance(value, dict) and value:
        seconds = sum(_unit_seconds(unit, amount, floats) for unit, amount in value.items())
    else:
        raise ValueError("expected an ISO 8601 duration or a map of units")
    if seconds > MAX_SECONDS:
        raise ValueError("the duration is longer than 100 years")
    return seconds


def _iso_seconds(text: str) -> float:
    match = _ISO.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        raise ValueError(f"'{text[:100]}' is not an ISO 8601 duration such as PT30S")
    return sum(
        float(amount) * unit
        for amount, unit in zip(match.groups(), _ISO_SECONDS, strict=True)
        if amount
    )


def meant_duration(text: str) -> str:
    """Return the ISO 8601 duration that a text such as "1h 30m" or "pt5s" means, "" for none."""
    parts = _SPOKEN.findall(text)[:10]
    spoken = "".join(f"{amount}{unit[0]}" for amount, unit in parts).upper()
    is_whole = "".join(map("".join, parts)) == "".join(text.split())
    date, _, time = spoken.partition("D") if "D" in spoken else ("", "", spoken)
    guesses = [f"P{date}D{f'T{time}' if time else ''}" if date else f"PT{time}"] if is_whole else []
    guesses += [text.strip().upper(), text.strip().upper().replace("P", "PT", 1)]
    return next((each for each in guesses if len(each) <= 100 and _ISO.fullmatch(each)), "")


def whole_number(value: JSON) -> int | None:
    """Return a number without a fraction, however it is written, or None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _unit_seconds(unit: str, given: JSON, floats: bool) -> float:
    if unit not in _UNIT_SECONDS:
        raise ValueError(f"unknown unit '{unit}'; allowed here: {', '.join(_UNIT_SECONDS)}")
    amount = whole_number(given)
    if amount is None or amount < 0 or (isinstance(given, float) and not floats):
        raise ValueError(f"{unit} must be a whole number, not negative")
    if amount > MAX_SECONDS * 1000:
        raise ValueError("the duration is longer than 100 years")
    return amount * _UNIT_SECONDS[unit]
