"""The documents have the failure contract as the tests have it, and the tests have all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack.contract_marks import every_mark, marks_of
from tests.stack.contract_rows import ROWS

ROOT = Path(__file__).parents[2]
HANDSHAKE = ROOT / "docs" / "handshake.md"


def test_the_documents_have_every_row_in_its_order() -> None:
    text = HANDSHAKE.read_text(encoding="utf-8")
    section = text.partition("## What a caller sees\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    rows = [line.split("|")[1].strip() for line in lines[1:]]
    assert rows == [row.text for row in ROWS]


def test_every_row_is_shown_with_every_kind_of_execution_that_it_is_about() -> None:
    shown = {(mark.row, kind) for mark in every_mark(ROOT) for kind in mark.kinds}
    assert shown == {(row.text, kind) for row in ROWS for kind in row.kinds}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("rows.NO_TOKEN", "3: rows.NO_TOKEN is neither text nor a constant of this file"),
        ("ELSEWHERE", "3: ELSEWHERE is neither text nor a constant of this file"),
        ("'no token', 'engine'", "3: there is no kind 'engine' of executions: agent, workflow"),
    ],
)
def test_a_mark_that_cannot_be_read_is_named(
    tmp_path: Path, arguments: str, complaint: str
) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(
        f"from rows import ELSEWHERE\n\n@pytest.mark.contract({arguments})\ndef test_it(): pass\n"
    )
    with pytest.raises(ValueError, match="test_it") as raised:
        marks_of(file)
    assert str(raised.value) == f"{file}:{complaint}"
