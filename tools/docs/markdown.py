"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_WRITTEN = "<!-- Written by `make docs`: change {source} instead. -->"
_UNTIL_HERE = "<!-- Written until here. -->"


def head(title: str, source: str) -> Iterator[str]:
    """Yield the beginning of a generated page."""
    yield f"# {title}"
    yield ""
    yield _WRITTEN.format(source=source)
    yield ""


def with_part(text: str, source: str, lines: Iterable[str]) -> str:
    """Return a page with its part that follows from this source written anew.

    Raises:
        ValueError: the page has no such part, or it does not end.
    """
    begin = _WRITTEN.format(source=source)
    head, found, rest = text.partition(f"{begin}\n")
    _, ended, tail = rest.partition(f"{_UNTIL_HERE}\n")
    if not (found and ended):
        raise ValueError(f"the page needs lines {begin} and {_UNTIL_HERE}")
    part = "\n".join(lines).strip()
    return f"{head}{found}\n{part}\n\n{ended}{tail}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table, and the empty line after it."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(text) for text in row)} |"
    yield ""


def code(text: str) -> str:
    """Return text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def one_line(text: str) -> str:
    """Return text with its lines joined."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    # Within code as well: Markdown's tables are cut before anything else is read.
    return re.sub(r"(?<!\\)\|", r"\\|", one_line(text))
