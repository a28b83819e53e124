"""Literals of Temporal's visibility queries."""

from __future__ import annotations

import re

_UNQUOTABLE = re.compile(r"""["'\\\x00-\x1f\x7f]""")


def quoted(value: str) -> str:
    """Return a string literal of the query language.

    Raises:
        ValueError: the value has a character that could end it.
    """
    if _UNQUOTABLE.search(value):
        raise ValueError("a value with quotes or control characters cannot be part of a query")
    return f"'{value}'"
