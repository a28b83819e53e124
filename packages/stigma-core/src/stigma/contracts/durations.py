"""Durations as people write and read them: `30s`, `1h30m`, `3d`, `PT30S`; "1.5 s"."""

from __future__ import annotations

import re
from datetime import timedelta

_SHORT = re.compile(
    r"(?:(\d+)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?"
)
_ISO_WEEKS = re.compile(r"P(\d+)W")
_ISO = re.compile(
    r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(text: str) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: it is neither like "1h30m" nor like "PT1H30M".
    """
    if match := _SHORT.fullmatch(text):
        days, hours, minutes, seconds, milliseconds = match.groups()
        parts = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        parts["milliseconds"] = milliseconds
    elif match := _ISO_WEEKS.fullmatch(text):
        parts = {"weeks": match[1]}
    elif match := _ISO.fullmatch(text):
        parts = dict(zip(("days", "hours", "minutes", "seconds"), match.groups(), strict=True))
    else:
        parts = {}
    given = {unit: float(value) for unit, value in parts.items() if value}
    if not given:
        raise ValueError(f'{text!r} is not a duration such as "30s", "1h30m" or "PT30S"')
    try:
        return timedelta(**given)
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def format_duration(seconds: float) -> str:
    """Return seconds for people, in one or two units: "250 ms", "1.5 s", "2 min 05 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
