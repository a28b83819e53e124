"""The failure contract, from its rows and the tests that show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.stack.contract_marks import ContractMark, every_mark
from tests.stack.contract_rows import AGENT, KINDS, NOTHING, ROWS, WORKFLOW, ContractRow
from tools.docs.markdown import table, with_part

PROMISES = "tests/stack/contract_rows.py"
PROOFS = "the marks of the tests"

_OF_KIND = {AGENT: "with an agent", WORKFLOW: "with a workflow execution"}


def page(text: str, root: Path) -> str:
    """Return docs/handshake.md with the contract as it is.

    Args:
        text: the page as it stands.
        root: the repository, whose tests are read.

    Raises:
        ValueError: the page does not say where; a mark is not readable.
    """
    return with_part(with_part(text, PROMISES, promises()), PROOFS, proofs(every_mark(root), root))


def promises() -> Iterator[str]:
    """Yield the table of what a caller sees."""
    rows = ((row.text, row.sees, row.within) for row in ROWS)
    yield from table(("what happens", "the caller sees", "within"), rows)


def proofs(marks: Iterable[ContractMark], root: Path) -> Iterator[str]:
    """Yield the table of the tests that show it."""
    every = list(marks)
    rows = ((row.text, *(_cell(row, kind, every, root) for kind in KINDS)) for row in ROWS)
    yield from table(("what happens", *(_OF_KIND[kind] for kind in KINDS)), rows)


def _cell(row: ContractRow, kind: str, marks: Iterable[ContractMark], root: Path) -> str:
    if kind not in row.kinds:
        return f"{NOTHING} ({row.agents_only})"
    found = [mark for mark in marks if mark.row == row.text and kind in mark.kinds]
    files = groupby(found, key=lambda mark: mark.path.relative_to(root))
    return "; ".join(f"{_link(path)}: {', '.join(map(_said, group))}" for path, group in files)


def _link(path: Path) -> str:
    name = path.stem.removeprefix("test_")
    # Two directories of tests/ may have files of one name.
    shown = f"{path.parent.name}/{name}" if path.parts[0] == "tests" else name
    return f"[{shown}](../{path.as_posix()})"


def _said(mark: ContractMark) -> str:
    return mark.function.removeprefix("test_").replace("_", " ")
