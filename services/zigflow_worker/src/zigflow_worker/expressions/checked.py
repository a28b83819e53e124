"""Containers that were found to be JSON: a value that grows is not walked whole each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from zigflow_worker.expressions.errors import ExpressionError

MAX_DATA_DEPTH = 500
"""Maps and lists inside each other, in data that an expression compares, prints or rebuilds."""
NON_FINITE = "the result holds NaN or an infinity, which JSON cannot say"
CHARACTERS_A_STEP = 256
_CHILDREN_A_STEP = 16

Container: TypeAlias = "list[Any] | dict[str, Any]"


_Measure: TypeAlias = tuple[Container, int, int, int]
"""The extent of a container: itself, its weight without its own texts, its depth, and the
characters of its own keys and texts. A plain tuple, because one is made for each container.

The weight counts the steps that a visit of the whole takes; shared parts count each time. The
measure keeps the container alive, whose identity is its name.
"""


class CheckedContainers:
    """Measures of containers by identity; they must not change while they are known."""

    __slots__ = ("_measures", "_steps")

    def __init__(self) -> None:
        self._measures: dict[int, _Measure] = {}
        self._steps = 0

    def measure(self, container: Container) -> tuple[int, int]:
        """Measure what is not known.

        Returns:
            The steps taken, one for a few children looked at, and the steps that a visit of the
            whole takes, shared parts each time.

        Raises:
            ExpressionError: it is not JSON, or nests too deeply.
        """
        before = self._steps
        measure = self._measures.get(id(container)) or self._measure_new(container, 1)
        return self._steps - before, measure[1] + measure[3] // CHARACTERS_A_STEP

    def joined(self, whole: list[Any], left: list[Any], right: list[Any]) -> None:
        """Measure a list that is a known one and another, one after the other.

        It is known in their place: of a list that grows, only the last one is kept alive.
        """
        measures = self._measures
        first = measures.get(id(left))
        if first is None:
            return
        try:
            second = measures.get(id(right)) or self._measure_new(right, 1)
        except ExpressionError:  # what is wrong may be no part of the result
            return
        del measures[id(left)]
        measures.pop(id(right), None)
        _, weight, depth, characters = first
        _, more_weight, more_depth, more_characters = second
        if more_depth > depth:  # noqa: PLR1730 - a call of max takes longer
            depth = more_depth
        weight += more_weight - 1
        measures[id(whole)] = (whole, weight, depth, characters + more_characters)

    def _measure_new(self, container: Container, depth: int) -> _Measure:
        """Measure a container that is not known and has `depth` - 1 others around it."""
        if depth > MAX_DATA_DEPTH:
            raise _too_deep()
        measures = self._measures
        weight = 1 + len(container)
        self._steps += 1 + len(container) // _CHILDREN_A_STEP
        deepest = characters = 0
        children: Iterable[Any] = container
        if type(container) is dict:
            for key in container:
                characters += len(key)
            children = container.values()
        for child in children:
            kind = type(child)
            if kind is str:
                characters += len(child)
            elif kind is dict or kind is list:
                inner = measures.get(id(child)) or self._measure_new(child, depth + 1)
                _, inner_weight, inner_depth, inner_characters = inner
                weight += inner_weight + inner_characters // CHARACTERS_A_STEP
                if inner_depth > deepest:  # noqa: PLR1730 - the same
                    deepest = inner_depth
            elif kind is float and child - child != 0:
                raise ExpressionError(NON_FINITE)
        if depth + deepest > MAX_DATA_DEPTH:
            raise _too_deep()
        measure = measures[id(container)] = (container, weight, 1 + deepest, characters)
        return measure


def _too_deep() -> ExpressionError:
    return ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")
