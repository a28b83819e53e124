"""Counts the work of an evaluation.

purejq's builtins have a fixed signature, so the meter of the running evaluation is found by
thread: an evaluation begins and ends inside one call.
"""

from __future__ import annotations

import threading

from zigflow_worker.expressions.budget import Budget
from zigflow_worker.expressions.engine import JSON, JqError
from zigflow_worker.expressions.errors import ExpressionError

MAX_FRAMES = 4_000
"""Python frames an evaluation may stand on; the interpreter's own limit is kept well above."""
MAX_DATA_DEPTH = 500
"""Maps and lists inside each other, in data that an expression compares, prints or rebuilds."""
MAX_ITEMS = 1_000_000
MAX_TEXT = 10_000_000
MAX_BITS = 1_023
"""Integers are exact up to the range of a double."""
_STEPS_A_CALL = 4
_ITEMS_A_STEP = 64
_CHARACTERS_A_STEP = 256


class Meter:
    """Use of one evaluation; `has_non_finite` once it met NaN or an infinity."""

    __slots__ = ("budget", "frames", "has_non_finite", "spend")

    def __init__(self, budget: Budget, frames: int) -> None:
        self.budget = budget
        self.spend = budget.spend
        self.frames = frames
        self.has_non_finite = False

    def enter(self, frames: int) -> None:
        """Count a call that stands on `frames` more (raises ExpressionError)."""
        self.spend(_STEPS_A_CALL)
        self.frames += frames
        if self.frames > MAX_FRAMES:
            raise ExpressionError("expression recurses too deeply")

    def count_items(self, size: int) -> None:
        """Count a list or map of `size` items made in one go (raises ExpressionError)."""
        if size > MAX_ITEMS:
            raise ExpressionError(f"expression builds more than {MAX_ITEMS} items")
        self.spend(1 + size // _ITEMS_A_STEP)

    def count_text(self, size: int) -> None:
        """Count a string of `size` characters made in one go (raises ExpressionError)."""
        if size > MAX_TEXT:
            raise ExpressionError(f"expression builds a text of more than {MAX_TEXT} characters")
        self.spend(1 + size // _CHARACTERS_A_STEP)

    def count_value(self, value: JSON) -> int:
        """Return the steps it takes to visit all of `value`, and spend them."""
        if isinstance(value, str):
            steps = 1 + len(value) // _CHARACTERS_A_STEP
        elif isinstance(value, (list, dict)):
            return self._count_container(value)
        else:
            steps = 1
        self.spend(steps)
        return steps

    def _count_container(self, value: list[JSON] | dict[str, JSON]) -> int:
        """Count level by level: values share parts, so there may be far more than memory shows."""
        total = 0
        level: list[list[JSON] | dict[str, JSON]] = [value]
        for _ in range(MAX_DATA_DEPTH):
            deeper: list[list[JSON] | dict[str, JSON]] = []
            for container in level:
                steps = 1 + len(container)
                if isinstance(container, dict):
                    steps += sum(map(len, container)) // _CHARACTERS_A_STEP
                    children = container.values()
                else:
                    children = container  # type: ignore[assignment]
                for child in children:
                    if isinstance(child, (list, dict)):
                        deeper.append(child)
                    elif isinstance(child, str):
                        steps += len(child) // _CHARACTERS_A_STEP
                self.spend(steps)
                total += steps
            if not deeper:
                return total
            level = deeper
        raise ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")

    def number(self, value: int | float) -> int | float:
        """Return a computed number (raises JqError when it outgrew the range of a double)."""
        if isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise JqError("number is out of range")
        elif value - value != 0:
            self.has_non_finite = True
        return value


_running = threading.local()


def current_meter() -> Meter:
    """Return the meter of the evaluation this thread is running."""
    current: Meter = _running.meter
    return current


def start(budget: Budget, frames: int) -> Meter:
    """Make a new meter the running one."""
    _running.meter = Meter(budget, frames)
    return current_meter()
