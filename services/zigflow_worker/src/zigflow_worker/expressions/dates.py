"""jq's dates: UTC only, and the same on every machine.

The C library's own functions know the machine's locale and time zone, so none is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from zigflow_worker.expressions.arithmetic import is_number
from zigflow_worker.expressions.engine import (
    JSON,
    Builtin,
    Environment,
    Filter,
    JqError,
    Key,
    describe,
)
from zigflow_worker.expressions.metering import current_meter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

_WRITERS: dict[str, Callable[[datetime], str]] = {
    "a": lambda at: _DAYS[at.weekday()][:3],
    "A": lambda at: _DAYS[at.weekday()],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "B": lambda at: _MONTHS[at.month - 1],
    "d": lambda at: f"{at.day:02}",
    "e": lambda at: f"{at.day:2}",
    "H": lambda at: f"{at.hour:02}",
    "I": lambda at: f"{(at.hour - 1) % 12 + 1:02}",
    "j": lambda at: f"{at.timetuple().tm_yday:03}",
    "m": lambda at: f"{at.month:02}",
    "M": lambda at: f"{at.minute:02}",
    "p": lambda at: "AM" if at.hour < 12 else "PM",
    "s": lambda at: str(_seconds(at)),
    "S": lambda at: f"{at.second:02}",
    "u": lambda at: str(at.isoweekday()),
    "w": lambda at: str(at.isoweekday() % 7),
    "G": lambda at: f"{at.isocalendar().year:04}",
    "V": lambda at: f"{at.isocalendar().week:02}",
    "y": lambda at: f"{at.year % 100:02}",
    "Y": lambda at: f"{at.year:04}",
    "z": lambda _: "+0000",
    "Z": lambda _: "UTC",
    "%": lambda _: "%",
}
_READERS = {
    "a": "|".join(day[:3] for day in _DAYS),
    "A": "|".join(_DAYS),
    "b": "|".join(month[:3] for month in _MONTHS),
    "B": "|".join(_MONTHS),
    "d": "3[01]|[12][0-9]|0?[1-9]",
    "e": "3[01]|[12][0-9]|[ 0]?[1-9]",
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
    "Z": "UTC|GMT|Z",
}
_SHORTHANDS = {
    "T": "%H:%M:%S",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "R": "%H:%M",
    "c": "%a %b %e %H:%M:%S %Y",
}
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_ISO = "%Y-%m-%dT%H:%M:%SZ"


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(seconds=1)


def _expand(pattern: JSON, what: str) -> str:
    if not isinstance(pattern, str):
        raise JqError(f"{what} requires a string format")
    if len(pattern) > 200:
        raise JqError(f"{what}: the format is longer than 200 characters")
    return _DIRECTIVE.sub(lambda found: _SHORTHANDS.get(found[1], found[0]), pattern)


def _from_seconds(seconds: JSON, what: str) -> tuple[datetime, int | float]:
    """Return the whole second and the second of its minute, with its fraction."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise JqError(f"{what} requires a number")
    try:
        whole = seconds // 1
        at = _EPOCH + timedelta(seconds=whole)
    except (ValueError, OverflowError):
        raise JqError(f"{what}: {describe(seconds)} is out of range") from None
    fraction = seconds - whole
    return at, at.second + fraction if fraction else at.second


def _broken_down(at: datetime, second: int | float) -> list[JSON]:
    day = at.timetuple().tm_yday - 1
    return [at.year, at.month - 1, at.day, at.hour, at.minute, second, at.isoweekday() % 7, day]


def _assemble(parts: JSON, what: str) -> datetime:
    if not isinstance(parts, list) or len(parts) < 6 or not all(map(is_number, parts)):
        raise JqError(f"{what} requires parsed datetime inputs")
    try:
        year, month, day, hour, minute, second = (int(part) for part in parts[:6])  # type: ignore[arg-type]
        start = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        return start + timedelta(days=day - 1, hours=hour, minutes=minute, seconds=second)
    except (ValueError, OverflowError):
        raise JqError(f"{what}: the date is out of range") from None


def _gmtime(data: JSON, _env: Environment) -> Iterator[JSON]:
    yield _broken_down(*_from_seconds(data, "gmtime"))


def _mktime(data: JSON, _env: Environment) -> Iterator[JSON]:
    yield _seconds(_assemble(data, "mktime"))


def _write(data: JSON, pattern: JSON) -> str:
    current_meter().spend(10)
    text = _expand(pattern, "strftime/1")
    at = _from_seconds(data, "strftime/1")[0] if is_number(data) else _assemble(data, "strftime/1")

    def directive(found: re.Match[str]) -> str:
        writer = _WRITERS.get(found[1])
        if writer is None:
            raise JqError(f"strftime/1: {found[0]} is not supported")
        return writer(at)

    return _DIRECTIVE.sub(directive, text)


def _strftime(data: JSON, _env: Environment, pattern: Filter) -> Iterator[JSON]:
    for wanted in pattern.vals(data):
        yield _write(data, wanted)


def _todate(data: JSON, _env: Environment) -> Iterator[JSON]:
    yield _write(data, _ISO)


def _read(data: JSON, pattern: JSON) -> datetime:
    if not isinstance(data, str):
        raise JqError(f"strptime/1 requires string inputs and arguments, not {describe(data)}")
    text = _expand(pattern, "strptime/1")
    current_meter().spend(20 + len(text) + len(data) // 16)
    expression, names = "", []
    for literal, name in re.findall(r"([^%]+)|%(.)", text, re.DOTALL):
        if literal or name == "%":
            expression += re.sub(r"(\\ |\s)+", r"\\s*", re.escape(literal or name))
            continue
        if name not in _READERS or name in names:
            raise JqError(f"strptime/1: %{name} is not supported here")
        names.append(name)
        expression += f"({_READERS[name]})"
    found = re.fullmatch(expression, data[:1000], re.IGNORECASE | re.ASCII)
    if found is None:
        raise JqError(f'date "{data[:100]}" does not match format "{pattern}"')
    return _interpret(dict(zip(names, found.groups(), strict=True)), data)


def _interpret(fields: dict[str, str], data: str) -> datetime:
    def number(name: str, default: int) -> int:
        return int(fields[name]) if name in fields else default

    if "s" in fields:
        return _from_seconds(int(fields["s"]), "strptime/1")[0]
    year = number("Y", 1900)
    if "y" in fields:
        year = int(fields["y"]) + (1900 if int(fields["y"]) > 68 else 2000)
    month = number("m", 1)
    for name in ("b", "B"):
        if name in fields:
            month = 1 + [full[:3] for full in _MONTHS].index(fields[name][:3].capitalize())
    hour = number("H", 0)
    if "I" in fields:
        hour = int(fields["I"]) % 12 + (12 if fields.get("p", "").lower() == "pm" else 0)
    try:
        at = datetime(year, month, number("d", number("e", 1)), tzinfo=UTC)
        at += timedelta(hours=hour, minutes=number("M", 0), seconds=number("S", 0))
        return (
            at.replace(month=1, day=1) + timedelta(days=int(fields["j"]) - 1)
            if "j" in fields
            else at
        )
    except (ValueError, OverflowError):
        raise JqError(f'date "{data[:100]}" is out of range') from None


def _strptime(data: JSON, _env: Environment, pattern: Filter) -> Iterator[JSON]:
    for wanted in pattern.vals(data):
        at = _read(data, wanted)
        yield _broken_down(at, at.second)


def _fromdate(data: JSON, _env: Environment) -> Iterator[JSON]:
    yield _seconds(_read(data, _ISO))


BUILTINS: dict[Key, Builtin] = {
    ("gmtime", 0): _gmtime,
    ("mktime", 0): _mktime,
    ("strftime", 1): _strftime,
    ("strptime", 1): _strptime,
    **{(name, 0): _todate for name in ("todate", "todateiso8601", "date")},
    **{(name, 0): _fromdate for name in ("fromdate", "fromdateiso8601")},
}
