"""The budget of expressions: a count of steps, never a clock."""

from __future__ import annotations

from zigflow_worker.expressions.errors import ExpressionError

DEFAULT_STEPS = 500_000
"""Steps of one evaluation when its caller shares no budget; less than a second of CPU."""


class Budget:
    """Steps left, shared by all the evaluations of one activation.

    A step is one loop turn, call or value produced; bulk work (a copied list, a repeated
    string) counts by its size. The count depends on nothing but the expression and its data,
    so a replay runs out at the same place.
    """

    __slots__ = ("limit", "used")

    def __init__(self, steps: int = DEFAULT_STEPS) -> None:
        self.limit = steps
        self.used = 0

    @property
    def remaining(self) -> int:
        """Steps left; never negative."""
        return max(0, self.limit - self.used)

    def spend(self, steps: int) -> None:
        """Count `steps` (raises ExpressionError once more than the limit were spent)."""
        self.used += steps
        if self.used > self.limit:
            raise ExpressionError(f"expression exceeded its budget of {self.limit} steps")
