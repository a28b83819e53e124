"""Builtins that instrumentation adds to count work; no call can have their names."""

from __future__ import annotations

from collections.abc import Iterator

from zigflow_worker.expressions.engine import (
    JSON,
    Builtin,
    Environment,
    Filter,
    JqError,
    Key,
    Located,
    Path,
    PathBuiltin,
    describe,
)
from zigflow_worker.expressions.metering import current_meter


def _collect(data: JSON, _env: Environment, items: Filter) -> Iterator[JSON]:
    spend = current_meter().spend
    collected = []
    for item in items.vals(data):
        spend(1)
        collected.append(item)
    yield collected


def _step(data: JSON, _env: Environment) -> Iterator[JSON]:
    current_meter().spend(1)
    yield data


def _step_path(data: JSON, path: Path, _env: Environment) -> Iterator[Located]:
    current_meter().spend(1)
    yield path, data


def _charge(data: JSON, _env: Environment, steps: Filter) -> Iterator[JSON]:
    """Count what is about to be done in one go."""
    for count in steps.vals(data):
        current_meter().spend(count if isinstance(count, int) else 1)
    yield data


def _charge_path(data: JSON, path: Path, env: Environment, steps: Filter) -> Iterator[Located]:
    for value in _charge(data, env, steps):
        yield path, value


def _loop(data: JSON, _env: Environment) -> Iterator[JSON]:
    """Count what is about to be iterated."""
    current_meter().spend(1 + len(data) // 4 if isinstance(data, (list, dict)) else 1)
    yield data


def _loop_path(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
    for value in _loop(data, env):
        yield path, value


def _sized(data: JSON, _env: Environment) -> Iterator[JSON]:
    """Count a part cut out of a list or text."""
    if isinstance(data, str):
        current_meter().count_text(len(data))
    else:
        current_meter().count_items(len(data) if isinstance(data, list) else 1)
    yield data


def _sized_path(data: JSON, path: Path, env: Environment) -> Iterator[Located]:
    for value in _sized(data, env):
        yield path, value


def _key(data: JSON, _env: Environment) -> Iterator[JSON]:
    """Let only names and numbers be keys: searching a list is what indices is for."""
    if isinstance(data, (list, dict)):
        raise JqError(f"Cannot index with {describe(data)}")
    yield data


def _caught(data: JSON, _env: Environment) -> Iterator[JSON]:
    """Count an error: making its message and unwinding cost more than other steps."""
    current_meter().spend(10)
    yield data


METERING: dict[Key, Builtin] = {
    ("caught", 0): _caught,
    ("charge", 1): _charge,
    ("collect", 1): _collect,
    ("key", 0): _key,
    ("loop", 0): _loop,
    ("sized", 0): _sized,
    ("step", 0): _step,
}
PATH_METERING: dict[Key, PathBuiltin] = {
    ("charge", 1): _charge_path,
    ("loop", 0): _loop_path,
    ("sized", 0): _sized_path,
    ("step", 0): _step_path,
}
