"""Builtins over whole lists and maps, paid for by their size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest

from zigflow_worker.expressions import arithmetic, engine
from zigflow_worker.expressions.engine import (
    JSON,
    Builtin,
    Environment,
    Filter,
    JqError,
    Key,
    describe,
)
from zigflow_worker.expressions.metering import Meter, current_meter


def _linear(name: str, arity: int = 0) -> tuple[Key, Builtin]:
    """Take a builtin of the engine that visits each item once."""
    key = (name, arity)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment, *args: Filter) -> Iterator[JSON]:
        current_meter().count_items(len(data) if isinstance(data, (list, dict)) else 1)
        return original(data, env, *args)

    return key, builtin


def _ordering(name: str, arity: int = 0) -> tuple[Key, Builtin]:
    """Take a builtin of the engine that compares items with each other."""
    key = (name, arity)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment, *args: Filter) -> Iterator[JSON]:
        meter = current_meter()
        rounds = len(data).bit_length() if isinstance(data, list) else 1
        if args:
            return original(data, env, *(_CountedFilter(arg, meter, rounds) for arg in args))
        meter.spend(meter.count_value(data) * rounds // 4)
        return original(data, env)

    return key, builtin


class _CountedFilter:
    """A sort key, paid for as often as sorting compares it."""

    __slots__ = ("_key", "_meter", "_rounds", "env", "g")

    def __init__(self, key: Filter, meter: Meter, rounds: int) -> None:
        self._key = key
        self._meter = meter
        self._rounds = rounds
        self.env = key.env
        self.g = None if key.g is None else self._value

    def _value(self, data: JSON, env: Environment) -> JSON:
        assert self._key.g is not None  # noqa: S101 - for the type checker
        value = self._key.g(data, env)
        self._meter.spend(self._meter.count_value(value) * self._rounds // 4)
        return value

    def vals(self, data: JSON) -> Iterator[JSON]:
        for value in self._key.vals(data):
            self._meter.spend(self._meter.count_value(value) * self._rounds // 4)
            yield value


def _counted(name: str, arity: int = 0) -> tuple[Key, Builtin]:
    """Take a builtin of the engine that visits all of its input, to the leaves."""
    key = (name, arity)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment, *args: Filter) -> Iterator[JSON]:
        current_meter().count_value(data)
        return original(data, env, *args)

    return key, builtin


def _searching(name: str) -> tuple[Key, Builtin]:
    """Take a builtin of the engine that looks for its argument everywhere in its input."""
    key = (name, 1)
    original = engine.BUILTINS[key]

    def builtin(data: JSON, env: Environment, needle: Filter) -> Iterator[JSON]:
        meter = current_meter()
        size = _size(meter, data)
        for wanted in needle.vals(data):
            meter.spend(1 + size * _size(meter, wanted) // 16)
            yield from original(data, env, _Constant(wanted, env))

    return key, builtin


def _size(meter: Meter, value: JSON) -> int:
    if isinstance(value, str):
        meter.spend(1 + len(value) // 16)
        return 1 + len(value) // 4
    return meter.count_value(value)


class _Constant:
    """A filter whose one output is known."""

    __slots__ = ("_value", "env", "g")

    def __init__(self, value: JSON, env: Environment) -> None:
        self._value = value
        self.env = env
        self.g: Callable[[JSON, Environment], JSON] = lambda _data, _env: value

    def vals(self, _data: JSON) -> Iterator[JSON]:
        yield self._value


def _add(data: JSON, _env: Environment, *items: Filter) -> Iterator[JSON]:
    values = items[0].vals(data) if items else engine.iterate(data)
    meter = current_meter()
    gathered: list[JSON] = []
    for value in values:
        meter.spend(1)
        gathered.append(value)
    yield _sum(meter, gathered)


def _sum(meter: Meter, values: list[JSON]) -> JSON:
    """Add all in one go where they are of one kind: pairs would copy the sum each time."""
    texts = [value for value in values if isinstance(value, str)]
    if values and len(texts) == len(values):
        meter.count_text(sum(map(len, texts)))
        return "".join(texts)
    lists = [value for value in values if isinstance(value, list)]
    if values and len(lists) == len(values):
        meter.count_items(sum(map(len, lists)))
        return [item for value in lists for item in value]
    maps = [value for value in values if isinstance(value, dict)]
    if values and len(maps) == len(values):
        meter.count_items(8 * sum(map(len, maps)))
        return {key: item for value in maps for key, item in value.items()}
    total: JSON = None
    for value in values:
        total = arithmetic.add(total, value)
    return total


def _join(data: JSON, _env: Environment, separator: Filter) -> Iterator[JSON]:
    for between in separator.vals(data):
        if not isinstance(data, list):
            raise JqError(f"Cannot iterate over {describe(data)}")
        if not isinstance(between, str):
            raise JqError("join separator must be a string")
        parts = [_joinable(item) for item in data]
        current_meter().count_text(sum(map(len, parts)) + len(parts) * (16 + len(between)))
        yield between.join(parts)


def _joinable(item: JSON) -> str:
    if item is None:
        return ""
    if isinstance(item, str):
        return item
    if isinstance(item, (list, dict)):
        raise JqError(f"{describe(item)} cannot be joined")
    return engine.encode(item)


def _to_entries(data: JSON, _env: Environment) -> Iterator[JSON]:
    if not isinstance(data, (dict, list)):
        raise JqError(f"{describe(data)} has no keys")
    current_meter().spend(1 + len(data))
    items = data.items() if isinstance(data, dict) else enumerate(data)
    yield [{"key": key, "value": value} for key, value in items]


def _from_entries(data: JSON, _env: Environment) -> Iterator[JSON]:
    spend = current_meter().spend
    built: dict[str, JSON] = {}
    for entry in engine.iterate(data):
        spend(1)
        if not isinstance(entry, dict):
            raise JqError(f'Cannot index {engine.type_name(entry)} with "key"')
        built[_entry_key(entry)] = next(
            (entry[name] for name in ("value", "v", "Value", "V") if name in entry), None
        )
    yield built


def _entry_key(entry: dict[str, JSON]) -> str:
    key = entry.get("key")
    if key is None:
        names = ("k", "name", "Name", "K", "Key")
        key = next((entry[name] for name in names if entry.get(name) not in (None, False)), None)
    if isinstance(key, str):
        return key
    if isinstance(key, (list, dict)):
        raise JqError(f"Cannot use {describe(key)} as object key")
    return engine.encode(key)


def _transpose(data: JSON, _env: Environment) -> Iterator[JSON]:
    rows = [list(engine.iterate(row)) for row in engine.iterate(data)]
    width = max(map(len, rows), default=0)
    current_meter().count_items(8 * width * len(rows))
    yield [list(column) for column in zip_longest(*rows)]


def _has(data: JSON, env: Environment, key: Filter) -> Iterator[JSON]:
    current_meter().spend(1)
    return engine.BUILTINS["has", 1](data, env, key)


BUILTINS: dict[Key, Builtin] = dict(
    [
        *map(_linear, ("keys", "keys_unsorted", "reverse")),
        *map(_ordering, ("sort", "unique", "min", "max")),
        *(_ordering(name, 1) for name in ("sort_by", "group_by", "unique_by", "min_by", "max_by")),
        *map(_counted, ("flatten", "tostream", "tojson", "tostring")),
        _counted("flatten", 1),
        *map(_searching, ("contains", "indices", "bsearch", "_strindices")),
    ]
) | {
    ("add", 0): _add,
    ("add", 1): _add,
    ("join", 1): _join,
    ("to_entries", 0): _to_entries,
    ("from_entries", 0): _from_entries,
    ("transpose", 0): _transpose,
    ("has", 1): _has,
}
