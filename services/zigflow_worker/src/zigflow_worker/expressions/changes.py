"""Changed copies of values: set and deleted at paths; the original is never touched."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any, TypeAlias, TypeGuard

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import MAP_ITEM, Budget
from zigflow_worker.expressions.checked import MAX_DATA_DEPTH
from zigflow_worker.expressions.errors import JqError
from zigflow_worker.expressions.printing import type_name
from zigflow_worker.expressions.values import is_number, order_key

_Container: TypeAlias = "dict[str, Any] | list[Any]"
_MAX_INDEX = 2**29 - 1


def set_item(meter: Budget, value: Any, key: Any, new: Any) -> Any:
    """Return a copy of `value` with `new` at `key` (raises JqError)."""
    if isinstance(key, str) and (value is None or isinstance(value, dict)):
        meter.make_items(MAP_ITEM * len(value or ()))
        return {**(value or {}), key: new}
    if value is None or isinstance(value, list):
        if is_number(key):
            return _set_index(meter, value or [], key, new)
        if isinstance(key, dict):
            return _set_slice(meter, value or [], key, new)
        if isinstance(key, list) and value is not None:
            raise JqError("Cannot update field at array index of array")
    if isinstance(value, str) and isinstance(key, dict):
        raise JqError("Cannot update string slices")
    raise access.cannot_index(value, key)


def _set_index(meter: Budget, value: list[Any], key: float, new: Any) -> list[Any]:
    if key != key:  # noqa: PLR0124
        raise JqError("Cannot set array element at NaN index")
    place = int(max(min(key, 2**62), -(2**62)))
    if place < 0:
        place += len(value)
        if place < 0:
            raise JqError("Out of bounds negative array index")
    if place > _MAX_INDEX:
        raise JqError("Array index too large")
    meter.make_items(max(len(value), place + 1) // 2)
    copy = value + [None] * (place + 1 - len(value))
    copy[place] = new
    return copy


def _set_slice(meter: Budget, value: list[Any], key: dict[str, Any], new: Any) -> list[Any]:
    begin, end = access.clamp(len(value), *access.bounds(key))
    if not isinstance(new, list):
        raise JqError("A slice of an array can only be assigned another array")
    meter.make_items((len(value) + len(new)) // 2)
    return value[:begin] + new + value[end:]


def set_path(meter: Budget, value: Any, keys: list[Any], new: Any) -> Any:
    """Return a copy of `value` with `new` at a path (raises JqError)."""
    if len(keys) > MAX_DATA_DEPTH:
        raise JqError("Path too deep")
    passed = []
    for key in keys:
        passed.append(value)
        value = access.index(meter, value, key)
    for key, container in zip(reversed(keys), reversed(passed), strict=True):
        new = set_item(meter, container, key, new)
    return new


def delete_paths(meter: Budget, value: Any, paths: list[Any]) -> Any:
    """Return a copy of `value` without what is at the paths (raises JqError)."""
    for path in paths:
        if not isinstance(path, list):
            raise JqError("Path must be specified as an array")
        if len(path) > MAX_DATA_DEPTH:
            raise JqError("Path too deep")
    meter.spend((meter.weigh(paths) * len(paths).bit_length()) // 4)
    return _delete_sorted(meter, value, sorted(paths, key=order_key), 0)


def _delete_sorted(meter: Budget, value: Any, paths: list[Any], depth: int) -> Any:
    if not paths:
        return value
    if len(paths[0]) == depth:
        return None
    ends = []
    groups = [(key, list(group)) for key, group in groupby(paths, lambda path: path[depth])]
    for key, group in reversed(groups):
        meter.spend(1 + len(group))
        if len(group[0]) == depth + 1:
            ends.append(key)
            continue
        inner = access.index(meter, value, key)
        if inner is not None:
            changed = _delete_sorted(meter, inner, group, depth + 1)
            value = set_item(meter, value, key, changed)
    return _without(meter, value, ends) if ends else value


def _without(meter: Budget, value: Any, keys: list[Any]) -> Any:
    """Return a copy of a list or map without the items at `keys`, all of the same original."""
    if value is None:
        return None
    if isinstance(value, dict):
        meter.make_items(MAP_ITEM * len(value))
        for key in keys:
            if not isinstance(key, str):
                raise JqError(f"Cannot delete {type_name(key)} field of object")
        gone = set(keys)
        return {key: item for key, item in value.items() if key not in gone}
    if not isinstance(value, list):
        raise JqError(f"Cannot delete fields from {type_name(value)}")
    meter.make_items(len(value) // 2)
    indices: set[int] = set()
    for key in keys:
        indices.update(_deleted_indices(meter, len(value), key))
    return [item for place, item in enumerate(value) if place not in indices]


def _deleted_indices(meter: Budget, length: int, key: Any) -> range:
    if isinstance(key, dict):
        begin, end = access.clamp(length, *access.bounds(key))
        meter.make_items(4 * (end - begin))
        return range(begin, end)
    if not is_number(key):
        raise JqError(f"Cannot delete {type_name(key)} element of array")
    if not math.isfinite(key):
        return range(0)
    place = int(key)
    place += length if place < 0 else 0
    return range(place, place + 1) if place >= 0 else range(0)


class Patch:
    """A value under change.

    Containers it copied are its own, and are changed in place until an expression has seen
    them. One is trusted only below others of its own: whatever an expression made of a value
    may hold it twice.
    """

    __slots__ = ("_meter", "_own", "root")

    def __init__(self, root: Any, meter: Budget) -> None:
        self.root = root
        self._meter = meter
        self._own: dict[int, _Container] = {}

    def get(self, path: list[Any]) -> Any:
        """Return the value at `path`, about to be seen by an expression."""
        self._meter.spend(1 + len(path))
        value = self.root
        for key in path:
            value = access.index(self._meter, value, key)
        self._own.pop(id(value), None)
        return value

    def set(self, path: list[Any], value: Any) -> None:
        """Put `value` at `path` (raises JqError)."""
        self._meter.spend(1 + len(path))
        if not path:
            self.root = value
            return
        parent, rest = self._descend(path)
        if isinstance(parent, dict) and isinstance(rest[0], str):
            if len(rest) > 1:
                value = set_path(self._meter, parent.get(rest[0]), rest[1:], value)
            self._meter.make_items(MAP_ITEM)
            parent[rest[0]] = value
        elif isinstance(parent, list) and _is_index(rest[0], parent):
            if len(rest) > 1:
                value = set_path(self._meter, parent[rest[0]], rest[1:], value)
            parent[rest[0]] = value
        elif isinstance(parent, list) and rest == [len(parent)] and type(rest[0]) is int:
            self._meter.make_items(1)
            parent.append(value)
        else:
            self._own.clear()
            self.root = set_path(self._meter, self.root, path, value)

    def _descend(self, path: list[Any]) -> tuple[_Container | None, list[Any]]:
        """Own the containers along `path`; return the innermost and what is left of the path."""
        if not isinstance(self.root, (dict, list)) or len(path) > MAX_DATA_DEPTH:
            return None, path
        trusted = id(self.root) in self._own
        current = self.root = self._owned(self.root, trusted=trusted)
        for index, key in enumerate(path[:-1]):
            child: Any = None
            if isinstance(current, dict) and isinstance(key, str):
                child = current.get(key)
            elif isinstance(current, list) and _is_index(key, current):
                child = current[key]
            if not isinstance(child, (dict, list)):
                return current, path[index:]
            trusted = trusted and id(child) in self._own
            child = self._owned(child, trusted=trusted)
            current[key] = child
            current = child
        return current, path[-1:]

    def _owned(self, value: _Container, *, trusted: bool) -> _Container:
        if trusted:
            return value
        size = len(value) // 2 if isinstance(value, list) else MAP_ITEM * len(value)
        self._meter.make_items(size)
        copy = value.copy()
        self._own[id(copy)] = copy
        return copy


def _is_index(key: Any, items: list[Any]) -> TypeGuard[int]:
    return type(key) is int and -len(items) <= key < len(items)
