"""Builtins that order the items of a list, and what is computed over all of its items."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from zigflow_worker.expressions import access, build
from zigflow_worker.expressions.arithmetic import add
from zigflow_worker.expressions.budget import MAP_ITEM, Budget
from zigflow_worker.expressions.code import Code, Scope, one, turn
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import describe, to_json
from zigflow_worker.expressions.values import compare, order_key

_SHORT = 64
_Pairs = list[tuple[Any, Any]]
"""Sort keys and the items they belong to."""


def _keyed(meter: Budget, data: Any) -> _Pairs:
    """Return the items by themselves as keys, paid for as often as sorting compares them."""
    if not isinstance(data, list):
        raise JqError(f"{describe(data)} cannot be sorted, as it is not an array")
    meter.spend(meter.weigh(data) * len(data).bit_length() // 8)
    meter.make_items(4 * len(data))
    return [(order_key(item), item) for item in data]


def _keyed_by(code: Code) -> Callable[[Any, Scope, Budget], _Pairs]:
    """Return what computes the keys of the items: the lists of a filter's outputs."""
    keys_of = code.single or build.collect(code).get
    assert keys_of is not None  # noqa: S101 - a list is always one output
    charge = turn(code, code)

    def keyed(data: Any, scope: Scope, meter: Budget) -> _Pairs:
        if not isinstance(data, list):
            access.items(data)
            raise JqError(f"{describe(data)} cannot be sorted, as it is not an array")
        rounds = len(data).bit_length()
        meter.make_items(4 * len(data))
        scalar = 1 + rounds // 8
        meter.spend((charge + scalar) * len(data))
        pairs = []
        for item in data:
            key = keys_of(item, scope, meter)
            kind = type(key)
            if kind is list or kind is dict or (kind is str and len(key) > _SHORT):
                meter.spend(meter.weigh(key) * rounds // 8)
            pairs.append((order_key(key), item))
        return pairs

    return keyed


def _first_of(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _sorted(pairs: _Pairs) -> list[Any]:
    return [item for _, item in sorted(pairs, key=_first_of)]


def _grouped(pairs: _Pairs) -> list[list[Any]]:
    ordered = sorted(pairs, key=_first_of)
    return [[item for _, item in group] for _, group in groupby(ordered, key=_first_of)]


def _unique(pairs: _Pairs) -> list[Any]:
    ordered = sorted(pairs, key=_first_of)
    return [next(group)[1] for _, group in groupby(ordered, key=_first_of)]


def _least(pairs: _Pairs) -> Any:
    return min(pairs, key=_first_of)[1] if pairs else None


def _greatest(pairs: _Pairs) -> Any:
    # The last of equals, as in jq; max alone would return the first.
    return max(reversed(pairs), key=_first_of)[1] if pairs else None


def _plain(finish: Callable[[_Pairs], Any]) -> Callable[[Budget, Any], Any]:
    return lambda meter, data: finish(_keyed(meter, data))


def _by(finish: Callable[[_Pairs], Any]) -> Callable[[Code], Code]:
    def compiled(key: Code) -> Code:
        keyed = _keyed_by(key)
        return one(
            lambda data, scope, meter: finish(keyed(data, scope, meter)), key, weight=4, height=6
        )

    return compiled


def _add(items: Code) -> Code:
    charge = turn(items)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        gathered = []
        for value in items.gen(data, scope, meter):
            meter.spend(charge)
            gathered.append(value)
        return _sum(meter, gathered)

    return one(get, items, height=5)


def _sum(meter: Budget, values: list[Any]) -> Any:
    """Add all in one go where they are of one kind: pairs would copy the sum each time."""
    kinds = {type(value) for value in values}
    if kinds == {str}:
        meter.make_text(sum(map(len, values)))
        return "".join(values)
    if kinds == {list}:
        meter.make_items(sum(map(len, values)) // 2)
        return [item for value in values for item in value]
    if kinds == {dict}:
        meter.make_items(MAP_ITEM * sum(map(len, values)))
        return {key: item for value in values for key, item in value.items()}
    total: Any = None
    for value in values:
        total = add(meter, total, value)
    return total


def _index(rows: Code, key: Code) -> Code:
    charge = turn(rows, key)

    def get(data: Any, scope: Scope, meter: Budget) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for row in rows.gen(data, scope, meter):
            for name in key.gen(row, scope, meter):
                meter.spend(charge)
                meter.make_items(MAP_ITEM)
                if not isinstance(name, str):
                    meter.weigh_text(name)
                found[name if isinstance(name, str) else to_json(name)] = row
        return found

    return one(get, rows, key, height=4)


def _bsearch(meter: Budget, data: Any, wanted: Any) -> int:
    if not isinstance(data, list):
        raise JqError(f"{describe(data)} cannot be searched from")
    low, high = 0, len(data) - 1
    while low <= high:
        meter.spend(1)
        middle = (low + high) // 2
        order = compare(meter, data[middle], wanted)
        if order == 0:
            return middle
        if order < 0:
            low = middle + 1
        else:
            high = middle - 1
    return -1 - low


def _flatten(meter: Budget, data: Any, depth: Any = 1e9) -> list[Any]:
    items = access.items(data)
    if isinstance(depth, (int, float)) and depth < 0:
        raise JqError("flatten depth must not be negative")
    meter.make_items(meter.weigh(data))
    flat: list[Any] = []
    _flatten_into(flat, items, depth if isinstance(depth, (int, float)) else 1e9)
    return flat


def _flatten_into(flat: list[Any], items: Any, depth: float) -> None:
    for item in items:
        if isinstance(item, list) and depth > 0:
            _flatten_into(flat, item, depth - 1)
        else:
            flat.append(item)


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("bsearch", 1): _bsearch,
    ("flatten", 0): _flatten,
    ("flatten", 1): _flatten,
    ("max", 0): _plain(_greatest),
    ("min", 0): _plain(_least),
    ("sort", 0): _plain(_sorted),
    ("unique", 0): _plain(_unique),
}
FILTERS: dict[tuple[str, int], Callable[..., Code]] = {
    ("INDEX", 2): _index,
    ("add", 1): _add,
    ("group_by", 1): _by(_grouped),
    ("max_by", 1): _by(_greatest),
    ("min_by", 1): _by(_least),
    ("sort_by", 1): _by(_sorted),
    ("unique_by", 1): _by(_unique),
}
