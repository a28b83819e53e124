"""Diagrams can be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, page_paths


@pytest.mark.parametrize("path", page_paths(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_message_of_a_sequence_is_cut_off(path: Path) -> None:
    """A semicolon ends a statement there, and what follows is none."""
    assert list(_cut_off(path.read_text(encoding="utf-8"))) == []


def test_a_message_that_is_cut_off_is_found() -> None:
    page = (
        "```mermaid\nsequenceDiagram\n  A->>B: one; two\n  B->>A: three\n```\nA->>B: text; text\n"
    )
    assert list(_cut_off(page)) == ["A->>B: one; two"]


def _cut_off(page: str) -> list[str]:
    diagrams = re.findall(
        r"^```mermaid\nsequenceDiagram\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    return [line.strip() for each in diagrams for line in each.splitlines() if ";" in line]
