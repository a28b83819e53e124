"""jq's regular expressions on RE2, whose time is linear in the text: no pattern stalls it.

RE2 has no look-around and no back references (an error says so), its classes of letters and digits
are ASCII, and `$` is the very end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import re2

from zigflow_worker.expressions import build, pipes, steps
from zigflow_worker.expressions.arithmetic import add
from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import Code, Scope, many, product, turn
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import brief, describe

_MAX_PATTERN = 2_000
_MAX_MEMORY = 1 << 20
_SMALL_PROGRAM = 100
"""Programs of that size run on RE2's automaton; larger ones, and groups, may need its slow way."""
_NAMED_GROUP = re.compile(r"\(\?<([A-Za-z_][A-Za-z0-9_]*)>")
_FLAGS = frozenset("gimnsxlp")


class _Pattern:
    """A pattern with its flags, and what a search through a text costs."""

    __slots__ = ("_program", "everywhere", "regex", "skip_empty")

    def __init__(self, regex: Any, flags: str) -> None:
        self.regex = regex
        self.everywhere = "g" in flags
        self.skip_empty = "n" in flags
        self._program: int = regex.programsize

    def matches(self, meter: Budget, text: str, *, everywhere: bool) -> Iterator[Any]:
        """Yield the matches (raises ExpressionError)."""
        size, groups = len(text), self.regex.groups
        slow = self._program > _SMALL_PROGRAM or groups
        meter.spend(1 + size // 64 + size * self._program * (1 + groups) // (100 if slow else 2048))
        last = None
        for match in self.regex.finditer(text):
            meter.spend(2 + groups + size // 256)
            span = match.span()
            # RE2 finds an empty match at the end of a text twice.
            if span == last or (self.skip_empty and span[0] == span[1]):
                continue
            last = span
            yield match
            if not (everywhere or self.everywhere):
                return


def _pattern(meter: Budget, wanted: Any, flags: Any) -> _Pattern:
    if isinstance(wanted, list) and flags is None and wanted:
        wanted, flags = wanted[0], wanted[1] if len(wanted) > 1 else None
    if not isinstance(wanted, str):
        raise JqError(f"{describe(wanted)} cannot be matched, as it is not a string")
    if flags is None:
        flags = ""
    if not isinstance(flags, str):
        raise JqError(f"{describe(flags)} is not a string")
    if not _FLAGS.issuperset(flags):
        raise JqError(f"{brief(flags)[1:-1]} is not a valid modifier string")
    if len(wanted) > _MAX_PATTERN:
        raise JqError(f"a pattern may have at most {_MAX_PATTERN} characters")
    meter.spend(10 + len(wanted) // 4)
    try:
        compiled = _compiled(wanted, "".join(sorted(set(flags))))
    except re2.error:
        meter.spend(500)
        raise JqError(f"{brief(wanted, 100)} is not a valid regular expression of RE2") from None
    meter.spend(2 * compiled.programsize)
    return _Pattern(compiled, flags)


@lru_cache(maxsize=256)
def _compiled(pattern: str, flags: str) -> Any:
    if "x" in flags:
        pattern = _without_comments(pattern)
    options = re2.Options()
    options.case_sensitive = "i" not in flags
    options.dot_nl = "p" in flags or "m" in flags  # `s` is about ^ and $, in Oniguruma
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    return re2.compile(_NAMED_GROUP.sub(r"(?P<\1>", pattern), options)


def _without_comments(pattern: str) -> str:
    """Drop what the `x` flag makes insignificant: white space and comments outside classes."""
    return re.sub(
        r"(\\.|\[(?:\\.|[^\]\\])*\])|\s+|#[^\n]*", lambda m: m[1] or "", pattern, flags=re.DOTALL
    )


def _matches(
    meter: Budget, data: Any, wanted: Any, flags: Any, *, everywhere: bool = False
) -> Iterator[Any]:
    if not isinstance(data, str):
        raise JqError(f"{describe(data)} cannot be matched, as it is not a string")
    return _pattern(meter, wanted, flags).matches(meter, data, everywhere=everywhere)


def _names(expression: Any) -> dict[int, str]:
    return {index: name for name, index in expression.groupindex.items()}


def _described(match: Any) -> dict[str, Any]:
    names = _names(match.re)
    captures: list[Any] = []
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


def _captured(match: Any) -> dict[str, Any]:
    return {name: match.group(index) for index, name in sorted(_names(match.re).items())}


def _scanned(match: Any) -> Any:
    return list(match.groups()) if match.re.groups else match.group()


def _test(meter: Budget, data: Any, wanted: Any, flags: Any = None) -> bool:
    return next(_matches(meter, data, wanted, flags), None) is not None


def _all(change: Callable[[Any], Any], *, everywhere: bool = False) -> Callable[..., Code]:
    """Make a filter whose outputs are made of the matches."""

    def found(meter: Budget, data: Any, wanted: Any, flags: Any = None) -> list[Any]:
        made = []
        for match in _matches(meter, data, wanted, flags, everywhere=everywhere):
            meter.make_items(16 * (1 + match.re.groups))
            meter.make_text(2 * (match.end() - match.start()))
            made.append(change(match))
        return made

    return lambda *arguments: _spread(build.applied(found, list(arguments)))


def _spread(code: Code) -> Code:
    return pipes.pipe([code, steps.iterate_step(pipes.identity(), guarded=False)])


def _split(meter: Budget, data: Any, wanted: Any, flags: Any = None) -> list[str]:
    parts: list[str] = []
    last = 0
    for match in _matches(meter, data, wanted, flags, everywhere=True):
        parts.append(data[last : match.start()])
        last = match.end()
    meter.make_text(len(data))
    meter.make_items(8 * len(parts))
    return [*parts, data[last:]]


def _substitute(*, everywhere: bool) -> Callable[..., Code]:
    """Make `sub` or `gsub`: the n-th outputs of the replacement make the n-th output."""

    def compiled(wanted: Code, replacement: Code, flags: Code | None = None) -> Code:
        parts = [wanted, flags or pipes.constant(None)]
        charge = turn(replacement, replacement)

        def replaced(data: Any, scope: Scope, meter: Budget, found: Iterator[Any]) -> list[str]:
            results: list[str] = []
            last = 0
            for match in found:
                gap = data[last : match.start()]
                last = match.end()
                captured = _captured(match)
                for number, text in enumerate(replacement.gen(captured, scope, meter)):
                    meter.spend(charge)
                    if number == len(results):
                        results.append("")
                    before = add(meter, results[number], gap)
                    results[number] = add(meter, before, text)
            return [add(meter, result, data[last:]) for result in results] or [data]

        def gen(data: Any, scope: Scope, meter: Budget) -> Iterator[str]:
            for pattern, options in product(parts, data, scope, meter):
                found = _matches(meter, data, pattern, options, everywhere=everywhere)
                yield from replaced(data, scope, meter, found)

        code = many(gen, *parts, replacement)
        code.height += 3
        return code

    return compiled


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    **{("test", arity): _test for arity in (1, 2)},
    ("split", 2): _split,
}
FILTERS: dict[tuple[str, int], Callable[..., Code]] = {
    **{("match", arity): _all(_described) for arity in (1, 2)},
    **{("capture", arity): _all(_captured) for arity in (1, 2)},
    **{("scan", arity): _all(_scanned, everywhere=True) for arity in (1, 2)},
    **{
        ("splits", arity): lambda *arguments: _spread(build.applied(_split, list(arguments)))
        for arity in (1, 2)
    },
    **{("sub", arity): _substitute(everywhere=False) for arity in (2, 3)},
    **{("gsub", arity): _substitute(everywhere=True) for arity in (2, 3)},
}
