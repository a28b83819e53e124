"""Looking into values: by name, index and slice, and at all their items."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe, type_name
from zigflow_worker.expressions.values import is_number, same

_SLICE = "Array/string slice indices must be integers"
_HUGE = 2**62
_LONG_KEY = 512
"""Characters from which on finding a key takes time that counts."""


def items(value: Any) -> Iterable[Any]:
    """Return the items of a list or map (raises JqError)."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return value.values()
    raise JqError(f"Cannot iterate over {describe(value)}")


def index(meter: Budget, value: Any, key: Any) -> Any:
    """Return `value[key]`, null for what is not there (raises JqError)."""
    if isinstance(value, dict) and isinstance(key, str):
        if len(key) > _LONG_KEY:
            meter.read_text(len(key))
        return value.get(key)
    if isinstance(value, list):
        return _in_list(meter, value, key)
    if value is None and (is_number(key) or isinstance(key, (str, dict))):
        return None
    if isinstance(value, str) and isinstance(key, dict):
        return cut(meter, value, *bounds(key))
    raise cannot_index(value, key)


def cannot_index(value: Any, key: Any) -> JqError:
    """Return the error of a key that a value cannot have."""
    return JqError(f"Cannot index {type_name(value)} with {describe(key)}")


def _in_list(meter: Budget, value: list[Any], key: Any) -> Any:
    if is_number(key):
        return _item(value, key)
    if isinstance(key, dict):
        return cut(meter, value, *bounds(key))
    if isinstance(key, list):
        return find_list(meter, value, key)
    raise cannot_index(value, key)


def _item(value: list[Any], key: Any) -> Any:
    if isinstance(key, float):
        if not math.isfinite(key):
            return None
        key = int(key)
    if key < 0:
        key += len(value)
    return value[key] if 0 <= key < len(value) else None


def bounds(key: dict[str, Any]) -> tuple[Any, Any]:
    """Return the bounds of a slice given as a map (raises JqError)."""
    if "start" not in key or "end" not in key:
        raise JqError(_SLICE)
    return key["start"], key["end"]


def clamp(length: int, first: Any, last: Any) -> tuple[int, int]:
    """Return the whole bounds of a slice, inside the length (raises JqError)."""
    for bound in (first, last):
        if bound is not None and not is_number(bound):
            raise JqError(_SLICE)
    begin = 0 if first is None or math.isnan(first) else _whole(first, math.floor)
    end = length if last is None or math.isnan(last) else _whole(last, math.ceil)
    begin = min(max(begin + length if begin < 0 else begin, 0), length)
    end = min(max(end + length if end < 0 else end, begin), length)
    return begin, end


def _whole(bound: float, rounded: Any) -> int:
    if math.isinf(bound):
        return _HUGE if bound > 0 else -_HUGE
    return int(rounded(bound))


def cut(meter: Budget, value: Any, first: Any, last: Any) -> Any:
    """Return a slice of a list or text, null of null (raises JqError)."""
    if value is None:
        return None
    if not isinstance(value, (list, str)):
        raise cannot_index(value, {})
    begin, end = clamp(len(value), first, last)
    if isinstance(value, str):
        meter.make_text(end - begin)
    else:
        meter.make_items((end - begin) // 2)
    return value[begin:end]


def find_list(meter: Budget, value: list[Any], wanted: list[Any]) -> list[int] | None:
    """Return where `wanted` begins inside `value`."""
    if not wanted:
        return []
    meter.spend(1 + (meter.weigh(wanted) + meter.weigh(value)) // 4)
    meter.make_items(len(value) // 2)
    size = len(wanted)
    found = []
    for begin in range(len(value) - size + 1):
        if same(value[begin], wanted[0]):
            meter.spend(1 + size // 8)
            if same(value[begin : begin + size], wanted):
                found.append(begin)
    return found


def find_text(meter: Budget, text: str, wanted: str) -> list[int]:
    """Return where `wanted` begins inside `text`; occurrences may overlap."""
    meter.read_text(len(text))
    found: list[int] = []
    begin = text.find(wanted) if wanted else -1
    while begin >= 0:
        meter.spend(1 + len(wanted) // 256)
        found.append(begin)
        begin = text.find(wanted, begin + 1)
    return found
