"""Literals of Temporal's visibility queries."""

from __future__ import annotations

import re

_UNQUOTABLE = re.compile(r"""["'\\\x00-\x1f\x7f]""")


def is_quotable(value: str) -> bool:
    """Return whether the value can be part of a query."""
    return not _UNQUOTABLE.search(value)


def quoted(value: str) -> str:
    """Return a string literal of the query language.

    Raises:
        ValueError: the value has a character that could end it.
    """
    if not is_quotable(value):
        raise ValueError("a value with quotes or control characters cannot be part of a query")
    return f"'{value}'"
