"""Meanings of the names in an expression, while it is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from zigflow_worker.expressions.functions import Function

Key: TypeAlias = tuple[str, int]
"""A function's name and the number of its parameters."""


class Names:
    """Meanings of the names in a part of an expression; bindings are counted from the outside."""

    __slots__ = ("functions", "given", "labels", "level", "variables")

    def __init__(self, given: frozenset[str]) -> None:
        self.given = given
        self.level = 0
        self.variables: Mapping[str, int] = {}
        self.labels: Mapping[str, int] = {}
        self.functions: Mapping[Key, Function | int] = {}
        """Functions, and the levels of parameters: negative of those that hold values."""

    def at_level(self, level: int) -> Names:
        """Return the same names, seen from behind so many bindings."""
        copy = Names(self.given)
        copy.level = level
        copy.variables, copy.labels = self.variables, self.labels
        copy.functions = self.functions
        return copy

    def with_variable(self, name: str) -> Names:
        """Return the names behind one more variable."""
        copy = self.at_level(self.level + 1)
        copy.variables = {**self.variables, name: copy.level}
        return copy

    def with_label(self, name: str) -> Names:
        """Return the names behind one more label."""
        copy = self.at_level(self.level + 1)
        copy.labels = {**self.labels, name: copy.level}
        return copy

    def with_function(self, name: str, function: Function) -> Names:
        """Return the names behind a definition."""
        copy = self.at_level(self.level)
        copy.functions = {**self.functions, (name, len(function.parameters)): function}
        return copy

    def with_parameter(self, name: str) -> Names:
        """Return the names behind one more parameter; `$name` is a variable besides."""
        copy = self.with_variable(name) if name[0] == "$" else self.at_level(self.level + 1)
        level = -copy.level if name[0] == "$" else copy.level
        copy.functions = {**self.functions, (name.removeprefix("$"), 0): level}
        return copy
