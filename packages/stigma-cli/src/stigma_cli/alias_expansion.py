"""The size of YAML with its aliases written out, as readers of it see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MAX_VALUES = 1_000_000
"""More than any definition has. A few lines whose aliases repeat aliases have billions."""


def expands_too_far(document: Any) -> bool:
    """Return whether a document has more than MAX_VALUES values, or is in itself.

    Raises:
        RecursionError: it is nested too deeply.
    """
    return _values(document, {}) > MAX_VALUES


def _values(value: Any, known: dict[int, int]) -> int:
    """Count a value and those in it; each container is walked once."""
    if not isinstance(value, (Mapping, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES + 1  # where it is met again within itself
        children: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
        known[id(value)] = 1 + sum(_values(child, known) for child in children)
    return known[id(value)]
