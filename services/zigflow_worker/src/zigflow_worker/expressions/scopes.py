"""Values of variables: bound ones, and those of the evaluation below them."""

from __future__ import annotations

from zigflow_worker.expressions.code import Get, Scope


def bound_value(distance: int) -> Get:
    """Return the getter of a bound value, so many bindings out."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[0]
    if distance == 1:
        return lambda _data, scope, _meter: scope[1][0]
    return lambda _data, scope, _meter: outer(scope, distance)[0]


def given_variable(distance: int, name: str) -> Get:
    """Return the getter of a variable of the evaluation, below all bindings."""
    if distance == 0:
        return lambda _data, scope, _meter: scope[name]
    return lambda _data, scope, _meter: outer(scope, distance)[name]


def outer(scope: Scope, distance: int) -> Scope:
    """Return the scope so many bindings out."""
    for _ in range(distance):
        scope = scope[1]
    return scope
