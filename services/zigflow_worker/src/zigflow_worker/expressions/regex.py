"""jq's regular expressions on RE2, whose time is linear in the text: no pattern stalls it.

RE2 has no look-around and no back references (an error says so), its classes of letters and digits
are ASCII, and `$` is the very end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import re2

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

MAX_PATTERN = 2_000
_NAMED_GROUP = re.compile(r"\(\?<([A-Za-z_][A-Za-z0-9_]*)>")
_FLAGS = frozenset("gimnsxlp")


class _Search:
    """A pattern with its flags."""

    __slots__ = ("everywhere", "expression", "skip_empty")

    def __init__(self, pattern: JSON, flags: JSON) -> None:
        if not isinstance(pattern, str):
            raise JqError(f"{describe(pattern)} cannot be matched, as it is not a string")
        if flags is None:
            flags = ""
        if not isinstance(flags, str) or not _FLAGS.issuperset(flags):
            raise JqError(f"{describe(flags)} is not a valid modifier string")
        self.everywhere = "g" in flags
        self.skip_empty = "n" in flags
        self.expression: Any = _compile(pattern, flags)

    def matches(self, text: JSON, *, everywhere: bool) -> Iterator[Any]:
        if not isinstance(text, str):
            raise JqError(f"{describe(text)} cannot be matched, as it is not a string")
        meter = current_meter()
        meter.spend(1 + (1 + self.expression.groups) * len(text) // 64)
        for match in self.expression.finditer(text):
            meter.spend(2 + len(text) // 256)
            if self.skip_empty and match.start() == match.end():
                continue
            yield match
            if not (everywhere or self.everywhere):
                return


def _compile(pattern: str, flags: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        raise JqError(f"a pattern may have at most {MAX_PATTERN} characters")
    current_meter().spend(10 + len(pattern))
    if "x" in flags:
        pattern = _without_comments(pattern)
    options = re2.Options()
    options.case_sensitive = "i" not in flags
    options.dot_nl = "p" in flags or "m" in flags  # `s` is about ^ and $, in Oniguruma
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(_NAMED_GROUP.sub(r"(?P<\1>", pattern), options)
    except re2.error as error:
        raise JqError(f"{_reason(error)} (while compiling the pattern {pattern})") from None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "invalid pattern"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _without_comments(pattern: str) -> str:
    """Drop what the `x` flag makes insignificant: white space and comments outside classes."""
    return re.sub(
        r"(\\.|\[(?:\\.|[^\]\\])*\])|\s+|#[^\n]*", lambda m: m[1] or "", pattern, flags=re.DOTALL
    )


def _searches(data: JSON, pattern: Filter, flags: Filter | None) -> Iterator[_Search]:
    for wanted in pattern.vals(data):
        if isinstance(wanted, list) and flags is None:
            yield _Search(wanted[0] if wanted else None, wanted[1] if len(wanted) > 1 else None)
            continue
        for flag in flags.vals(data) if flags is not None else (None,):
            yield _Search(wanted, flag)


def _names(expression: Any) -> dict[int, str]:
    return {index: name for name, index in expression.groupindex.items()}


def _described(match: Any) -> JSON:
    names = _names(match.re)
    captures: list[JSON] = []
    for index in range(1, match.re.groups + 1):
        text = match.group(index)
        captures.append(
            {
                "offset": match.start(index),
                "length": 0 if text is None else len(text),
                "string": text,
                "name": names.get(index),
            }
        )
    return {
        "offset": match.start(),
        "length": match.end() - match.start(),
        "string": match.group(),
        "captures": captures,
    }


def _captured(match: Any) -> dict[str, JSON]:
    return {name: match.group(index) for index, name in sorted(_names(match.re).items())}


def _test(
    data: JSON, _env: Environment, pattern: Filter, flags: Filter | None = None
) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        yield next(search.matches(data, everywhere=False), None) is not None


def _match(
    data: JSON, _env: Environment, pattern: Filter, flags: Filter | None = None
) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        for match in search.matches(data, everywhere=False):
            yield _described(match)


def _capture(
    data: JSON, _env: Environment, pattern: Filter, flags: Filter | None = None
) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        for match in search.matches(data, everywhere=False):
            yield _captured(match)


def _scan(
    data: JSON, _env: Environment, pattern: Filter, flags: Filter | None = None
) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        for match in search.matches(data, everywhere=True):
            yield list(match.groups()) if match.re.groups else match.group()


def _split(data: JSON, _env: Environment, pattern: Filter, flags: Filter) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        parts: list[JSON] = []
        last = 0
        for match in search.matches(data, everywhere=True):
            parts.append(match.string[last : match.start()])
            last = match.end()
        parts.append(data[last:] if isinstance(data, str) else None)
        yield parts


def _splits(
    data: JSON, _env: Environment, pattern: Filter, flags: Filter | None = None
) -> Iterator[JSON]:
    for search in _searches(data, pattern, flags):
        last = 0
        for match in search.matches(data, everywhere=True):
            yield match.string[last : match.start()]
            last = match.end()
        yield data[last:] if isinstance(data, str) else None


def _substitute(*, everywhere: bool) -> Builtin:
    def builtin(
        data: JSON, _env: Environment, pattern: Filter, text: Filter, flags: Filter | None = None
    ) -> Iterator[JSON]:
        for search in _searches(data, pattern, flags):
            if not isinstance(data, str):
                raise JqError(f"{describe(data)} cannot be matched, as it is not a string")
            results, last = [""], 0
            for match in search.matches(data, everywhere=everywhere):
                kept = data[last : match.start()]
                results = [
                    _joined(result, kept, replacement)
                    for replacement in text.vals(_captured(match))
                    for result in results
                ]
                last = match.end()
            for result in results:
                yield _joined(result, data[last:], "")

    return builtin


def _joined(result: str, kept: str, replacement: JSON) -> str:
    if not isinstance(replacement, str):
        raise JqError(f"{describe(replacement)} cannot be added to a string")
    current_meter().count_text(len(result) + len(kept) + len(replacement))
    return result + kept + replacement


BUILTINS: dict[Key, Builtin] = {
    **{("test", arity): _test for arity in (1, 2)},
    **{("match", arity): _match for arity in (1, 2)},
    **{("capture", arity): _capture for arity in (1, 2)},
    **{("scan", arity): _scan for arity in (1, 2)},
    **{("splits", arity): _splits for arity in (1, 2)},
    ("split", 2): _split,
    **{("sub", arity): _substitute(everywhere=False) for arity in (2, 3)},
    **{("gsub", arity): _substitute(everywhere=True) for arity in (2, 3)},
}
