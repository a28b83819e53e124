"""The builtins: functions of values, and filters made of filters.

`FUNCTIONS` are called with the budget, the input and the values of their arguments. `FILTERS`
are called with their compiled arguments when an expression is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zigflow_worker.expressions.builtins import (
    collections,
    dates,
    formats,
    numbers,
    regex,
    selections,
    sorting,
    texts,
)
from zigflow_worker.expressions.code import Code

FUNCTIONS: Mapping[tuple[str, int], Callable[..., Any]] = {
    **collections.FUNCTIONS,
    **dates.FUNCTIONS,
    **formats.FUNCTIONS,
    **numbers.FUNCTIONS,
    **regex.FUNCTIONS,
    **sorting.FUNCTIONS,
    **texts.FUNCTIONS,
}
FILTERS: Mapping[tuple[str, int], Callable[..., Code]] = {
    **collections.FILTERS,
    **regex.FILTERS,
    **selections.FILTERS,
    **sorting.FILTERS,
}
