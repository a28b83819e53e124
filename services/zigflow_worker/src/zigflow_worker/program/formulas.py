"""Compiled expressions, templates and durations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from zigflow_worker.expressions import JSON, Budget
from zigflow_worker.program.schemas import Schema

Evaluate: TypeAlias = Callable[[JSON, Mapping[str, JSON], Budget | None], JSON]


class Formula:
    """An expression or template, and which of the engine's own variables it reads."""

    __slots__ = ("evaluate", "names")

    def __init__(self, evaluate: Evaluate, names: tuple[str, ...]) -> None:
        self.evaluate = evaluate
        self.names = names


class DurationFormula:
    """A duration: known in seconds, or else by `formula`."""

    __slots__ = ("formula", "seconds")

    def __init__(self, seconds: float, formula: Formula | None = None) -> None:
        self.seconds = seconds
        self.formula = formula


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled `input`, `output` or `export`."""

    schema: Schema | None = None
    transformation: Formula | None = None

    def __bool__(self) -> bool:
        return self.schema is not None or self.transformation is not None


NO_RULES = Rules()
