"""The failure contract, from its rows and the tests that show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.stack.contract_marks import ContractMark, every_mark
from tests.stack.contract_rows import AGENT, KINDS, NOTHING, ROWS, WORKFLOW, ContractRow
from tools.docs.markdown import head, table, with_part

PROMISES = "tests/stack/contract_rows.py"
PROOFS = "the marks of the tests"

_OF_KIND = {AGENT: "With an agent", WORKFLOW: "With a workflow execution"}
_INTRODUCTION = """\
What a caller sees is [promised](../handshake.md#what-a-caller-sees) row by row; these are the
tests that show it, by file, each by its name without `test_`. Outages last 10 s and not 60 unless
`STIGMA_TEST_OUTAGE_SECONDS` says so; a crowd is 400 agents (1,000 in `make soak`)
or 150 workflows."""


def with_promises(text: str) -> str:
    """Return a page with the table of what a caller sees as it is.

    Raises:
        ValueError: the page does not say where.
    """
    rows = ((row.text, row.sees, row.within) for row in ROWS)
    return with_part(text, PROMISES, table(("what happens", "the caller sees", "within"), rows))


def page(root: Path) -> str:
    """Return the page of the tests that show it, from those of this repository.

    Raises:
        ValueError: a mark is not readable.
    """
    marks = list(every_mark(root))
    lines = [*head("Failure contract: which tests show it", PROOFS), _INTRODUCTION, ""]
    for row in ROWS:
        lines += [f"## {row.text}", ""]
        for kind in KINDS:
            lines += [f"{_OF_KIND[kind]}:", "", *_tests(row, kind, marks, root), ""]
    return "\n".join(lines).rstrip() + "\n"


def _tests(row: ContractRow, kind: str, marks: Iterable[ContractMark], root: Path) -> Iterator[str]:
    if kind not in row.kinds:
        yield f"- {NOTHING} ({row.agents_only})"
    found = [mark for mark in marks if mark.row == row.text and kind in mark.kinds]
    for path, group in groupby(found, key=lambda mark: mark.path.relative_to(root)):
        yield f"- {_link(path)}: {', '.join(map(_said, group))}"


def _link(path: Path) -> str:
    name = path.stem.removeprefix("test_")
    # Two directories of tests/ may have files of one name.
    shown = f"{path.parent.name}/{name}" if path.parts[0] == "tests" else name
    return f"[{shown}](../../{path.as_posix()})"


def _said(mark: ContractMark) -> str:
    return mark.function.removeprefix("test_").replace("_", " ")
