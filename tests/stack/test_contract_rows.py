"""The documents have the failure contract as the tests have it."""

from __future__ import annotations

from pathlib import Path

from tests.stack.contract_rows import ROWS

HANDSHAKE = Path(__file__).parents[2] / "docs" / "handshake.md"


def test_the_documents_have_every_row_in_its_order() -> None:
    text = HANDSHAKE.read_text(encoding="utf-8")
    section = text.partition("## What a caller sees\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    rows = [line.split("|")[1].strip() for line in lines[1:]]
    assert rows == [row.text for row in ROWS]
