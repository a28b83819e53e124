"""jq's dates: UTC only, and the same on every machine.

The C library's own functions know the machine's locale and time zone, so none is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import brief
from zigflow_worker.expressions.values import is_number

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAY = 86_400
_ERA = 146_097
"""Days of 400 years."""
_MAX_SECONDS = 67_768_036_191_676_799
"""End of the last year that fits the C library's structure."""
_MAX_FORMAT = 200


class _Time(NamedTuple):
    """A second of UTC, broken down; months and days of the year count from 0."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    weekday: int
    yearday: int

    @property
    def seconds(self) -> int:
        """Unix time."""
        days = _days(self.year, self.month) + self.day - 1
        return days * _DAY + self.hour * 3_600 + self.minute * 60 + self.second


def _days(year: int, month: int) -> int:
    """Return the days from 1970 to the first of a month, which counts from 0."""
    year, month = year + month // 12, month % 12
    year -= month < 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 10) % 12) + 2) // 5
    return era * _ERA + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _time(seconds: int) -> _Time:
    """Break Unix time down (raises JqError)."""
    if not abs(seconds) <= _MAX_SECONDS:
        raise JqError("error converting number of seconds since epoch to datetime")
    days, second = divmod(seconds, _DAY)
    era, of_era = divmod(days + 719_468, _ERA)
    years = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    shifted = (5 * of_year + 2) // 153
    month = (shifted + 2) % 12
    year = years + era * 400 + (month < 2)
    day = of_year - (153 * shifted + 2) // 5 + 1
    yearday = days - _days(year, 0)
    clock = (second // 3_600, second // 60 % 60, second % 60)
    return _Time(year, month, day, *clock, (days + 4) % 7, yearday)


def _week(at: _Time, first: int) -> int:
    """Return the week of the year, of weeks that begin on that day."""
    return (at.yearday + 7 - (at.weekday - first) % 7) // 7


def _iso(at: _Time) -> tuple[int, int]:
    """Return the year and week of ISO 8601."""
    week = (at.yearday - (at.weekday - 1) % 7 + 10) // 7
    if week < 1:
        return _iso(_time(_Time(at.year - 1, 11, 31, 0, 0, 0, 0, 0).seconds))
    if week == 53 and _days(at.year + 1, 0) - _days(at.year, 0) - at.yearday <= 3:
        january = (at.weekday - 1) % 7 - (at.day - 29)
        if january <= 2:
            return at.year + 1, 1
    return at.year, week


_WRITERS: dict[str, Callable[[_Time], str]] = {
    "a": lambda at: _DAYS[at.weekday][:3],
    "A": lambda at: _DAYS[at.weekday],
    "b": lambda at: _MONTHS[at.month][:3],
    "B": lambda at: _MONTHS[at.month],
    "C": lambda at: f"{at.year // 100:02}",
    "d": lambda at: f"{at.day:02}",
    "e": lambda at: f"{at.day:2}",
    "G": lambda at: str(_iso(at)[0]),
    "g": lambda at: f"{_iso(at)[0] % 100:02}",
    "h": lambda at: _MONTHS[at.month][:3],
    "H": lambda at: f"{at.hour:02}",
    "I": lambda at: f"{(at.hour - 1) % 12 + 1:02}",
    "j": lambda at: f"{at.yearday + 1:03}",
    "k": lambda at: f"{at.hour:2}",
    "l": lambda at: f"{(at.hour - 1) % 12 + 1:2}",
    "m": lambda at: f"{at.month + 1:02}",
    "M": lambda at: f"{at.minute:02}",
    "n": lambda _: "\n",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "s": lambda at: str(at.seconds),
    "S": lambda at: f"{at.second:02}",
    "t": lambda _: "\t",
    "u": lambda at: str(at.weekday or 7),
    "U": lambda at: f"{_week(at, 0):02}",
    "V": lambda at: f"{_iso(at)[1]:02}",
    "w": lambda at: str(at.weekday),
    "W": lambda at: f"{_week(at, 1):02}",
    "y": lambda at: f"{at.year % 100:02}",
    "Y": lambda at: str(at.year),
    "z": lambda _: "+0000",
    "Z": lambda _: "UTC",
    "%": lambda _: "%",
}
_READERS = {
    "a": "|".join(f"{day}|{day[:3]}" for day in _DAYS),
    "b": "|".join(f"{month}|{month[:3]}" for month in _MONTHS),
    "d": "3[01]|[12][0-9]|[ 0]?[1-9]",
    "H": "2[0-3]|[01]?[0-9]",
    "I": "1[0-2]|0?[1-9]",
    "j": "36[0-6]|3[0-5][0-9]|[0-2]?[0-9]?[0-9]",
    "m": "1[0-2]|0?[1-9]",
    "M": "[0-5]?[0-9]",
    "p": "[AaPp][Mm]",
    "s": "[0-9]{1,12}",
    "S": "6[01]|[0-5]?[0-9]",
    "y": "[0-9]{2}",
    "Y": "[0-9]{4}",
    "z": "[+-][0-9]{2}:?[0-9]{2}|Z",
    "Z": "[A-Za-z]+",
}
_READ_ALIKE = {"A": "a", "B": "b", "h": "b", "e": "d", "k": "H", "l": "I"}
_SHORTHANDS = {
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
    "D": "%m/%d/%y",
    "x": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "R": "%H:%M",
    "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
}
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)


def _expand(pattern: Any, what: str) -> str:
    if not isinstance(pattern, str):
        raise JqError(f"{what} requires a string format")
    if len(pattern) > _MAX_FORMAT:
        raise JqError(f"{what}: the format is longer than {_MAX_FORMAT} characters")
    return _DIRECTIVE.sub(lambda found: _SHORTHANDS.get(found[1], found[0]), pattern)


def _from_seconds(seconds: Any, what: str) -> tuple[_Time, int | float]:
    """Return the time, and its second with its fraction."""
    if not is_number(seconds):
        raise JqError(f"{what}() requires a number")
    if not math.isfinite(seconds):
        raise JqError("error converting number of seconds since epoch to datetime")
    whole = math.floor(seconds)
    at = _time(whole)
    fraction = seconds - whole
    return at, at.second + fraction if fraction else at.second


def _assemble(parts: Any, what: str) -> _Time:
    """Return the time of a broken down one, of which the end may be missing (raises JqError)."""
    if not isinstance(parts, list):
        raise JqError(f"{what} requires array inputs")
    known = parts[:6]
    if not all(is_number(part) and abs(part) < 2**31 for part in known):
        raise JqError(f"{what} requires parsed datetime inputs")
    year, month, day, hour, minute, second = [
        *map(int, known),
        *(1900, 0, 0, 0, 0, 0)[len(known) :],
    ]
    if known:
        year = 1900 + int(known[0] - 1900)  # C counts years from there
    return _time(_Time(year, month, day, hour, minute, second, 0, 0).seconds)


def _gmtime(_meter: Budget, data: Any) -> list[Any]:
    at, second = _from_seconds(data, "gmtime")
    return [*at[:5], second, *at[6:]]


def _mktime(_meter: Budget, data: Any) -> int:
    return _assemble(data, "mktime").seconds


def _strftime(meter: Budget, data: Any, pattern: Any) -> str:
    meter.spend(20)
    if is_number(data):
        at = _from_seconds(data, "strftime/1")[0]
    elif isinstance(data, list):
        at = _assemble(data, "strftime/1")
    else:
        raise JqError("strftime/1 requires parsed datetime inputs")
    text = _expand(pattern, "strftime/1")

    def directive(found: re.Match[str]) -> str:
        writer = _WRITERS.get(found[1])
        if writer is None:
            raise JqError(f"strftime/1: {found[0]} is not supported")
        return writer(at)

    return _DIRECTIVE.sub(directive, text)


def _strptime(meter: Budget, data: Any, pattern: Any) -> list[Any]:
    if not (isinstance(data, str) and isinstance(pattern, str)):
        raise JqError("strptime/1 requires string inputs and arguments")
    text = _expand(pattern, "strptime/1")
    meter.spend(30 + len(text))
    expression, names = "", []
    for literal, found in re.findall(r"([^%]+)|%(.)", text, re.DOTALL):
        name = _READ_ALIKE.get(found, found)
        if literal or name in ("%", "n", "t"):
            written = re.escape(literal or ("%" if name == "%" else " "))
            expression += re.sub(r"(\\?\s)+", r"\\s*", written)
            continue
        if name not in _READERS or name in names:
            raise JqError(f"strptime/1: %{found} is not supported here")
        names.append(name)
        expression += f"({_READERS[name]})"
    matched = re.fullmatch(expression, data[:1000], re.IGNORECASE | re.ASCII)
    if matched is None:
        raise JqError(f'date "{brief(data, 100)[1:-1]}" does not match format "{pattern}"')
    return list(_interpret(dict(zip(names, matched.groups(), strict=True))))


def _interpret(fields: dict[str, str]) -> _Time:
    def number(name: str, default: int) -> int:
        return int(fields[name]) if name in fields else default

    if "s" in fields:
        return _time(int(fields["s"]))
    year = number("Y", 1900)
    if "y" in fields:
        year = int(fields["y"]) + (1900 if int(fields["y"]) > 68 else 2000)
    month = number("m", 1)
    if "b" in fields:
        month = 1 + [full[:3] for full in _MONTHS].index(fields["b"][:3].capitalize())
    hour = number("H", 0)
    if "I" in fields:
        hour = int(fields["I"]) % 12 + (12 if fields.get("p", "").lower() == "pm" else 0)
    day = number("d", 1)
    if "j" in fields:
        month, day = 1, int(fields["j"])
    clock = (hour, number("M", 0), number("S", 0))
    return _time(_Time(year, month - 1, day, *clock, 0, 0).seconds)


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("gmtime", 0): _gmtime,
    ("mktime", 0): _mktime,
    ("strftime", 1): _strftime,
    ("strptime", 1): _strptime,
}
