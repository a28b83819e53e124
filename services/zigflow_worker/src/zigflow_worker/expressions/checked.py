"""Containers that were found to be JSON: a value that grows is not walked whole each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from zigflow_worker.expressions.errors import ExpressionError

MAX_DATA_DEPTH = 500
"""Maps and lists inside each other, in data that an expression compares, prints or rebuilds."""
NON_FINITE = "the result holds NaN or an infinity, which JSON cannot say"
CHARACTERS_A_STEP = 256
_CHILDREN_A_STEP = 16

Container: TypeAlias = "list[Any] | dict[str, Any]"


class _Measure(NamedTuple):
    """The extent of a container, which is kept alive: its identity is its name."""

    container: Container
    weight: int
    """Steps that a visit of the whole takes; shared parts count each time."""
    depth: int
    characters: int
    """Of its own keys and texts."""


class CheckedContainers:
    """Measures of containers by identity; they must not change while they are known."""

    __slots__ = ("_measures", "_steps")

    def __init__(self) -> None:
        self._measures: dict[int, _Measure] = {}
        self._steps = 0

    def knows(self, container: Container) -> bool:
        """Return whether a container was measured."""
        return id(container) in self._measures

    def measure(self, container: Container) -> int:
        """Measure what is not known; return the steps taken, one for a few children looked at.

        Raises:
            ExpressionError: it is not JSON, or nests too deeply.
        """
        before = self._steps
        self._measure(container, 1)
        return self._steps - before

    def weight(self, container: Container) -> int:
        """Return the steps that a visit of a known container takes, shared parts each time."""
        return self._measures[id(container)].weight

    def joined(self, whole: list[Any], left: list[Any], right: list[Any]) -> None:
        """Measure a list that is two known ones, one after the other.

        It is known in their place: of a list that grows, only the last one is kept alive.
        """
        first = self._measures.pop(id(left))
        second = first if right is left else self._measures.pop(id(right))
        characters = first.characters + second.characters
        weight = first.weight - _text_steps(first.characters) + second.weight - 1
        weight += _text_steps(characters) - _text_steps(second.characters)
        depth = max(first.depth, second.depth)
        self._measures[id(whole)] = _Measure(whole, weight, depth, characters)

    def _measure(self, container: Container, depth: int) -> _Measure:
        """Measure a container that has `depth` - 1 others around it."""
        measure = self._measures.get(id(container))
        if measure is None:
            if depth > MAX_DATA_DEPTH:
                raise _too_deep()
            self._steps += 1 + len(container) // _CHILDREN_A_STEP
            measure = self._measure_children(container, depth)
            self._measures[id(container)] = measure
        elif depth + measure.depth - 1 > MAX_DATA_DEPTH:
            raise _too_deep()
        return measure

    def _measure_children(self, container: Container, depth: int) -> _Measure:
        weight, deepest, characters = 1 + len(container), 0, 0
        children: Iterable[Any] = container
        if isinstance(container, dict):
            characters = sum(map(len, container))
            children = container.values()
        for child in children:
            kind = type(child)
            if kind is str:
                characters += len(child)
            elif kind is list or kind is dict:
                inside = self._measure(child, depth + 1)
                weight += inside.weight
                deepest = max(deepest, inside.depth)
            elif kind is float and child - child != 0:
                raise ExpressionError(NON_FINITE)
        weight += _text_steps(characters)
        return _Measure(container, weight, 1 + deepest, characters)


def _text_steps(characters: int) -> int:
    return characters // CHARACTERS_A_STEP


def _too_deep() -> ExpressionError:
    return ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")
