"""Builtins that make changed copies: only what changes is copied, and only once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, TypeGuard

from zigflow_worker.expressions import engine
from zigflow_worker.expressions.engine import JSON, Builtin, Environment, Filter, JqError, Key, Path
from zigflow_worker.expressions.metering import MAX_DATA_DEPTH, Meter, current_meter

_Container: TypeAlias = dict[str, JSON] | list[JSON]


class Patch:
    """A value under change; the original is never touched.

    Containers it copied are its own, and are changed in place until an expression has seen
    them. One is trusted only below others of its own: whatever an expression made of a value
    may hold it twice.
    """

    __slots__ = ("_meter", "_own", "root")

    def __init__(self, root: JSON, meter: Meter) -> None:
        self.root = root
        self._meter = meter
        self._own: dict[int, _Container] = {}

    def get(self, path: Path) -> JSON:
        """Return the value at `path`, about to be seen by an expression."""
        self._meter.spend(1 + len(path))
        value = engine.get_path(self.root, path)
        self._own.pop(id(value), None)
        return value

    def set(self, path: Path, value: JSON) -> None:
        """Put `value` at `path`."""
        self._meter.spend(1 + len(path))
        if len(path) > MAX_DATA_DEPTH:
            raise JqError("Path too deep")
        if not path:
            self.root = value
            return
        parent, rest = self._descend(path)
        if parent is None:
            self._replace(path, value)
        elif isinstance(parent, dict) and isinstance(rest[0], str):
            parent[rest[0]] = self._built(parent.get(rest[0]), rest[1:], value)
        elif isinstance(parent, list) and _is_index(rest[0], parent):
            parent[rest[0]] = self._built(parent[rest[0]], rest[1:], value)
        else:
            self._replace(path, value)

    def _descend(self, path: Path) -> tuple[_Container | None, Path]:
        """Own the containers along `path`; return the innermost and what is left of the path."""
        if not isinstance(self.root, (dict, list)):
            return None, path
        trusted = id(self.root) in self._own
        current = self.root = self._owned(self.root, trusted)
        for index, key in enumerate(path[:-1]):
            child: JSON = None
            if isinstance(current, dict) and isinstance(key, str):
                child = current.get(key)
            elif isinstance(current, list) and _is_index(key, current):
                child = current[key]
            if not isinstance(child, (dict, list)):
                return current, path[index:]
            trusted = trusted and id(child) in self._own
            child = self._owned(child, trusted)
            current[key] = child  # type: ignore[index]
            current = child
        return current, path[-1:]

    def _owned(self, value: _Container, trusted: bool) -> _Container:
        if trusted:
            return value
        self._meter.count_items(len(value) * (8 if isinstance(value, dict) else 1))
        copy = value.copy()
        self._own[id(copy)] = copy
        return copy

    def _built(self, value: JSON, path: Path, new: JSON) -> JSON:
        if not path:
            return new
        self._count_padding(path)
        return engine.set_path(value, path, new)

    def _replace(self, path: Path, new: JSON) -> None:
        """Leave the rare places (slices, list ends, errors) to the engine, at full price."""
        self._count_padding(path)
        self._own.clear()
        value = self.root
        for key in path:
            if not isinstance(value, (dict, list)):
                break
            self._meter.count_items(len(value))
            value = _child(value, key)
        self.root = engine.set_path(self.root, path, new)

    def _count_padding(self, path: Path) -> None:
        for key in path:
            if isinstance(key, (int, float)) and key > 0:
                self._meter.count_items(int(min(key, 2**62)))


def _is_index(key: JSON, items: list[JSON]) -> TypeGuard[int]:
    return type(key) is int and -len(items) <= key < len(items)


def _child(value: _Container, key: JSON) -> JSON:
    try:
        return engine.get_path(value, [key])
    except JqError:
        return None


def _assign(data: JSON, _env: Environment, places: Filter, value: Filter) -> Iterator[JSON]:
    for new in value.vals(data):
        patch = Patch(data, current_meter())
        for path, _ in places.paths(data, []):
            patch.set(path, new)
        yield patch.root


def _update(data: JSON, _env: Environment, places: Filter, change: Filter) -> Iterator[JSON]:
    patch = Patch(data, current_meter())
    emptied: list[JSON] = []
    for path, _ in places.paths(data, []):
        for new in change.vals(patch.get(path)):
            patch.set(path, new)
            break
        else:
            emptied.append(path)
    yield _deleted(patch.root, emptied) if emptied else patch.root


def _deleted(data: JSON, paths: list[JSON]) -> JSON:
    meter = current_meter()
    meter.count_value(paths)
    meter.spend(len(paths).bit_length() * len(paths))
    for path in paths:
        value = data
        for key in path if isinstance(path, list) else ():
            if not isinstance(value, (dict, list)):
                break
            meter.count_items(len(value) * (8 if isinstance(value, dict) else 1))
            value = _child(value, key)
    return engine.delete_paths(data, paths)


def _delpaths(data: JSON, _env: Environment, paths: Filter) -> Iterator[JSON]:
    for listed in paths.vals(data):
        if not isinstance(listed, list):
            raise JqError("Paths must be specified as an array")
        yield _deleted(data, listed)


def _setpath(data: JSON, _env: Environment, path: Filter, value: Filter) -> Iterator[JSON]:
    for place in path.vals(data):
        if not isinstance(place, list):
            raise JqError("Path must be specified as an array")
        for new in value.vals(data):
            patch = Patch(data, current_meter())
            patch.set(place, new)
            yield patch.root


def _index_by(data: JSON, _env: Environment, *args: Filter) -> Iterator[JSON]:
    indexed: dict[str, JSON] = {}
    for row in args[0].vals(data) if len(args) == 2 else engine.iterate(data):
        for key in args[-1].vals(row):
            current_meter().spend(1)
            indexed[key if isinstance(key, str) else engine.encode(key)] = row
    yield indexed


def _fromstream(data: JSON, _env: Environment, events: Filter) -> Iterator[JSON]:
    meter = current_meter()
    patch = Patch(None, meter)
    for event in events.vals(data):
        if not isinstance(event, list) or not event or not isinstance(event[0], list):
            raise JqError("Invalid streaming format")
        path = event[0]
        if len(event) == 2:
            patch.set(path, event[1])
        if (not path) if len(event) == 2 else len(path) <= 1:
            yield patch.root
            patch = Patch(None, meter)


def _pick(data: JSON, _env: Environment, places: Filter) -> Iterator[JSON]:
    patch = Patch(None, current_meter())
    for path, _ in places.paths(data, []):
        patch.set(path, engine.get_path(data, path))
        patch.get(path)
    yield patch.root


def _del(data: JSON, _env: Environment, places: Filter) -> Iterator[JSON]:
    paths: list[JSON] = []
    for path, _ in places.paths(data, []):
        current_meter().spend(1)
        paths.append(path)
    yield _deleted(data, paths) if paths else data


BUILTINS: dict[Key, Builtin] = {
    ("del", 1): _del,
    ("delpaths", 1): _delpaths,
    ("fromstream", 1): _fromstream,
    ("pick", 1): _pick,
    ("setpath", 2): _setpath,
    ("INDEX", 1): _index_by,
    ("INDEX", 2): _index_by,
}
METERING: dict[Key, Builtin] = {("assign", 2): _assign, ("update", 2): _update}
