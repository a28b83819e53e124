"""Builtins over lists and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zigflow_worker.expressions import access
from zigflow_worker.expressions.budget import MAP_ITEM, Budget
from zigflow_worker.expressions.changes import Patch, delete_paths
from zigflow_worker.expressions.checked import MAX_DATA_DEPTH
from zigflow_worker.expressions.choices import is_true
from zigflow_worker.expressions.code import Code, Scope, many, start
from zigflow_worker.expressions.errors import ExpressionError, JqError
from zigflow_worker.expressions.printing import describe, to_json, type_name
from zigflow_worker.expressions.steps import items_by_key
from zigflow_worker.expressions.values import equal, is_number, same

_WALK_FRAMES = 3


def _length(_meter: Budget, data: Any) -> Any:
    if data is None:
        return 0
    if isinstance(data, (str, list, dict)):
        return len(data)
    if is_number(data):
        return abs(data)
    raise JqError(f"{describe(data)} has no length")


def _keys(meter: Budget, data: Any) -> list[Any]:
    if isinstance(data, dict):
        meter.make_items(2 * len(data) * len(data).bit_length())
        return sorted(data)
    return _keys_unsorted(meter, data)


def _keys_unsorted(meter: Budget, data: Any) -> list[Any]:
    if not isinstance(data, (dict, list)):
        raise JqError(f"{describe(data)} has no keys")
    meter.make_items(4 * len(data))
    return list(data) if isinstance(data, dict) else list(range(len(data)))


def _has(_meter: Budget, data: Any, key: Any) -> bool:
    if data is None:
        return False
    if isinstance(data, dict) and isinstance(key, str):
        return key in data
    if isinstance(data, list) and is_number(key):
        return bool(0 <= key < len(data))
    raise JqError(f"Cannot check whether {type_name(data)} has a {type_name(key)} key")


def _contains(meter: Budget, data: Any, part: Any) -> bool:
    if type_name(data) != type_name(part) or (isinstance(data, bool) and data is not part):
        raise JqError(
            f"{describe(data)} and {describe(part)} cannot have their containment checked"
        )
    meter.spend(1 + meter.weigh(data) * meter.weigh(part) // 16)
    return _holds(data, part)


def _holds(data: Any, part: Any) -> bool:
    if isinstance(data, dict) and isinstance(part, dict):
        return all(key in data and _holds(data[key], inner) for key, inner in part.items())
    if isinstance(data, list) and isinstance(part, list):
        return all(any(_holds(item, inner) for item in data) for inner in part)
    if isinstance(data, str) and isinstance(part, str):
        return part in data
    return same(data, part)


def _to_entries(meter: Budget, data: Any) -> list[Any]:
    if not isinstance(data, (dict, list)):
        raise JqError(f"{describe(data)} has no keys")
    meter.make_items(24 * len(data))
    return [{"key": key, "value": value} for key, value in items_by_key(data)]


def _from_entries(meter: Budget, data: Any) -> dict[str, Any]:
    entries = access.items(data)
    meter.make_items(MAP_ITEM * len(data))
    built: dict[str, Any] = {}
    for entry in entries:
        meter.spend(1)
        if not isinstance(entry, dict):
            raise access.cannot_index(entry, "key")
        names = ("key", "k", "name", "Name", "K", "Key")
        key = next((entry[name] for name in names if is_true(entry.get(name))), None)
        if not isinstance(key, str):
            raise JqError(f"Cannot use {describe(key)} as object key")
        values = ("value", "v", "Value", "V")
        built[key] = next((entry[name] for name in values if name in entry), None)
    return built


def _reverse(meter: Budget, data: Any) -> list[Any]:
    if not isinstance(data, bool) and not data:
        return []
    if not isinstance(data, list):
        raise access.cannot_index(data, 0)
    meter.make_items(len(data) // 2)
    return data[::-1]


def _indices(meter: Budget, data: Any, wanted: Any) -> Any:
    if isinstance(data, str) and isinstance(wanted, str):
        return access.find_text(meter, data, wanted)
    if not isinstance(data, list):
        return access.index(meter, data, wanted)
    if isinstance(wanted, list):
        return access.find_list(meter, data, wanted)
    meter.make_items(len(data))
    meter.spend(len(data) // 4)
    return [place for place, item in enumerate(data) if equal(meter, item, wanted)]


def _strindices(meter: Budget, data: Any, wanted: Any) -> list[int]:
    if not isinstance(data, str):
        raise JqError(f"{describe(data)} cannot be searched, as it is not a string")
    if not isinstance(wanted, str):
        raise JqError(f"{describe(wanted)} is not a string")
    return access.find_text(meter, data, wanted)


def _join(meter: Budget, data: Any, separator: Any) -> str:
    items = list(access.items(data))
    meter.make_items(len(items))
    if not isinstance(separator, str) and separator is not None and len(items) > 1:
        text = _joinable(meter, items[0])
        raise JqError(f"{describe(text)} and {describe(separator)} cannot be added")
    between = separator or ""
    parts: list[str] = []
    for item in items:
        if isinstance(item, (list, dict)):
            text = between.join([*parts, ""])
            raise JqError(f"{describe(text)} and {describe(item)} cannot be added")
        meter.make_text(len(between))
        parts.append(_joinable(meter, item))
    return between.join(parts) if isinstance(between, str) else "".join(parts)


def _joinable(meter: Budget, item: Any) -> str:
    if item is None:
        return ""
    text = item if isinstance(item, str) else to_json(item)
    meter.make_text(len(text))
    return text


def _setpath(meter: Budget, data: Any, path: Any, value: Any) -> Any:
    if not isinstance(path, list):
        raise JqError("Path must be specified as an array")
    patch = Patch(data, meter)
    patch.set(path, value)
    return patch.root


def _delpaths(meter: Budget, data: Any, paths: Any) -> Any:
    if not isinstance(paths, list):
        raise JqError("Paths must be specified as an array")
    return delete_paths(meter, data, paths)


def _tostream() -> Code:
    def events(data: Any, path: list[Any], meter: Budget) -> Iterator[list[Any]]:
        if len(path) > MAX_DATA_DEPTH:
            raise ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")
        meter.make_items(2 + len(path))
        if not isinstance(data, (list, dict)) or not data:
            yield [path, data]
            return
        key: Any = None
        for key, item in items_by_key(data):
            meter.spend(1 + len(path) // 4)
            yield from events(item, [*path, key], meter)
        yield [[*path, key]]

    def gen(data: Any, _scope: Scope, meter: Budget) -> Iterator[list[Any]]:
        found = events(data, [], meter)
        if not isinstance(data, (list, dict)) or not data:
            yield from found
            return
        yield from found

    return many(gen)


def _walk(change: Code) -> Code:
    charge = 6 + start(change)

    def walked(data: Any, scope: Scope, meter: Budget, depth: int) -> list[Any]:
        if depth > MAX_DATA_DEPTH:
            raise ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")
        meter.enter(_WALK_FRAMES, charge)
        if isinstance(data, list):
            meter.make_items(len(data))
            rebuilt: list[Any] = []
            for item in data:
                rebuilt += walked(item, scope, meter, depth + 1)
            data = rebuilt
        elif isinstance(data, dict):
            meter.make_items(MAP_ITEM * len(data))
            outputs = {key: walked(item, scope, meter, depth + 1) for key, item in data.items()}
            data = {key: found[0] for key, found in outputs.items() if found}
        results = []
        for value in change.gen(data, scope, meter):
            meter.spend(1)
            results.append(value)
        meter.height -= _WALK_FRAMES
        return results

    code = many(lambda data, scope, meter: walked(data, scope, meter, 0), change)
    code.height += 3
    return code


FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("_strindices", 1): _strindices,
    ("contains", 1): _contains,
    ("delpaths", 1): _delpaths,
    ("from_entries", 0): _from_entries,
    ("has", 1): _has,
    ("indices", 1): _indices,
    ("join", 1): _join,
    ("keys", 0): _keys,
    ("keys_unsorted", 0): _keys_unsorted,
    ("length", 0): _length,
    ("not", 0): lambda _meter, data: data is None or data is False,
    ("reverse", 0): _reverse,
    ("setpath", 2): _setpath,
    ("to_entries", 0): _to_entries,
    ("type", 0): lambda _meter, data: type_name(data),
}
FILTERS: dict[tuple[str, int], Callable[..., Code]] = {
    ("tostream", 0): _tostream,
    ("walk", 1): _walk,
}
