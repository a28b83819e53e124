"""Errors that are caught, and labels that are left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.code import VALUES, Code, Get, Mode, Scope, duplex, one, optional
from zigflow_worker.expressions.errors import CATCHABLE, Break, caught_value
from zigflow_worker.expressions.pipes import empty
from zigflow_worker.expressions.scopes import bound_value
from zigflow_worker.expressions.steps import CAUGHT


def attempt(body: Code, handler: Code | None) -> Code:
    """Compile `try body catch handler`; without a handler an error ends the outputs."""
    after = handler or empty()

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        height = meter.height
        try:
            yield from mode.of(body)(item, scope, meter)
        except CATCHABLE as error:
            value = _caught(error, height, meter)
        else:
            return
        handled = value if mode is VALUES else (None, value)
        yield from mode.of(after)(handled, scope, meter)

    code = duplex(run, body, after)
    tried, handle = body.get, after.get
    if tried is None or handle is None:
        return code

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        height = meter.height
        try:
            return tried(data, scope, meter)
        except CATCHABLE as error:
            value = _caught(error, height, meter)
        return handle(value, scope, meter)

    return (optional if body.maybe or after.maybe else one)(get, body, after, paths=code.paths)


def _caught(error: Exception, height: int, meter: Budget) -> Any:
    value = caught_value(error)
    meter.height = height
    meter.spend(CAUGHT)
    return value


def label(body: Code) -> Code:
    """Compile `label $name | body`; its token is the innermost value bound in `body`."""

    def run(mode: Mode, item: Any, scope: Scope, meter: Budget) -> Iterator[Any]:
        token, height = object(), meter.height
        try:
            yield from mode.of(body)(item, (token, scope), meter)
        except Break as left:
            if left.label is not token:
                raise
            meter.height = height
            meter.spend(CAUGHT)

    return duplex(run, body)


def break_out(distance: int) -> Code:
    """Compile `break $name`."""
    find = bound_value(distance)

    def get(data: Any, scope: Scope, meter: Budget) -> Any:
        raise Break(find(data, scope, meter))

    return raising(get)


def raising(get: Get) -> Code:
    """Make a filter that never has an output, but an error."""
    return one(get, paths=lambda located, scope, meter: get(located[1], scope, meter))
