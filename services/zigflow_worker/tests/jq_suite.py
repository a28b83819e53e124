"""jq's own test files, run by our engine; their text is read at test time and never kept.

    STIGMA_JQ_TESTS=jq/tests python -m services.zigflow_worker.tests.jq_suite

prints the counts of each file, and what differs, as lines for `jq_suite_differences.tsv`.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.zigflow_worker.tests.jq_reference import same
from zigflow_worker.expressions import (
    JSON,
    ExpressionError,
    ExpressionSyntaxError,
    compile_expression,
)

FILES = (
    *("jq.test", "man.test", "onig.test", "manonig.test", "uri.test", "base64.test"),
    "optional.test",
)
VERSION = "jq-1.8.2"
REASONS = {
    "policy": "a name that reads the world, or a value JSON cannot say, is refused",
    "limit": "the budget, or a depth, ends it",
    "RE2": "look-around, back references, or what else RE2 lacks",
    "decNumber": "jq keeps the digits of a literal, or prints its exponent",
    "text": "the text of an error is ours",
    "modules": "there are none",
}
_ROOT = Path(__file__).parents[3]
_NAN = re.compile(r'(?<![\w"])-?nan(?![\w"])', re.IGNORECASE)
_DIFFERENCES = Path(__file__).with_name("jq_suite_differences.tsv")


@dataclass(frozen=True)
class SuiteTest:
    """A program with its input and outputs; `outputs` is None where it must not compile."""

    id: str
    line: int
    program: str
    input: str
    outputs: list[str] | None


def folder() -> Path | None:
    """Return where jq's tests are: STIGMA_JQ_TESTS, or `.cache/jq-tests`; None without."""
    path = Path(os.environ.get("STIGMA_JQ_TESTS") or _ROOT / ".cache/jq-tests")
    return path if (path / FILES[0]).exists() else None


def read(path: Path) -> list[SuiteTest]:
    """Read the tests of a file."""
    tests: list[SuiteTest] = []
    seen: dict[str, int] = {}
    for line, block in _blocks(path.read_text(encoding="utf-8", errors="surrogateescape")):
        fails = block[0].startswith("%%FAIL")
        program, argument = block[1 if fails else 0], "" if fails else block[1]
        digest = hashlib.sha256(f"{program}\n{argument}".encode(errors="replace")).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        identity = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        tests.append(SuiteTest(identity, line, program, argument, None if fails else block[2:]))
    return tests


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the groups of lines between blank ones and comments, with their first line's number."""
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip(" \t") and not line.lstrip(" \t").startswith("#"):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def failure(test: SuiteTest) -> str | None:
    """Return how our engine fails a test, in one line; None where it passes."""
    try:
        outputs = _outputs(test)
    except (ExpressionError, ExpressionSyntaxError) as error:
        if test.outputs is None and isinstance(error, ExpressionSyntaxError):
            return None
        return f"{type(error).__name__}: {error}"
    if test.outputs is None:
        return "compiles"
    expected = [_parse(output) for output in test.outputs]
    if same(outputs, expected, in_order=False):
        return None
    return f"{json.dumps(outputs)[:200]}, expected {json.dumps(expected)[:200]}"


def failures(tests: list[SuiteTest]) -> dict[str, str]:
    """Return how tests fail, by their id."""
    return {test.id: why for test in tests if (why := failure(test)) is not None}


def _outputs(test: SuiteTest) -> list[Any]:
    """Return the outputs before the end, or before an error, as jq's own runner reads them."""
    if test.outputs is None:
        compile_expression(test.program, frozenset())
        return []
    wrapped = compile_expression(f"[try (({test.program}\n) | [.]) catch null]", frozenset())
    results: Any = wrapped.evaluate(_parse(test.input), {})
    return [result[0] for result in results if result is not None]


def _parse(text: str) -> JSON:
    """Parse JSON as jq does, with `nan` in it."""
    value: JSON = json.loads(_NAN.sub("NaN", text.removeprefix("\ufeff")), strict=False)
    return value


def accepted(name: str) -> dict[str, str]:
    """Return the reasons of the listed differences of a file, by test."""
    reasons = {}
    for line in _DIFFERENCES.read_text().splitlines():
        if line and not line.startswith("#"):
            file, identity, why = line.split("\t", 2)
            if file == name:
                reasons[identity] = why
    return reasons


def counts(tests: list[SuiteTest], failed: dict[str, str]) -> str:
    """Return how many tests pass."""
    return f"{len(tests) - len(failed)} of {len(tests)}"


def main() -> int:
    """Print the counts and the differences that are not listed."""
    where = folder()
    if where is None:
        raise SystemExit(f"no jq tests: set STIGMA_JQ_TESTS to the folder `tests` of {VERSION}")
    for name in FILES:
        tests = read(where / name)
        failed = failures(tests)
        listed = accepted(name)
        print(f"{name}: {counts(tests, failed)}; {len(listed)} listed")  # noqa: T201
        for test in tests:
            if (test.id in failed) != (test.id in listed):
                why = failed.get(test.id, "PASSES")
                print(f"{name}\t{test.id}\t?: line {test.line}: {test.program}: {why}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
