"""The budget of expressions: counts of work and of what is produced, never a clock."""

from __future__ import annotations

from typing import Any, TypeAlias

from zigflow_worker.expressions.checked import (
    CHARACTERS_A_STEP,
    MAX_DATA_DEPTH,
    NON_FINITE,
    CheckedContainers,
)
from zigflow_worker.expressions.errors import ExpressionError

DEFAULT_STEPS = 500_000
"""Steps of one evaluation when its caller shares no budget; less than a second of CPU."""
MAX_ITEMS = 4_000_000
MAX_CHARACTERS = 32_000_000
MAX_HEIGHT = 4_000
"""Python frames an evaluation may stand on; the interpreter's own limit is kept well above."""
MAP_ITEM = 8
"""An item of a map takes the memory of that many items of a list."""
_ITEMS_A_STEP = 64

Containers: TypeAlias = "list[list[Any] | dict[str, Any]]"


class Budget:
    """Steps left, shared by all the evaluations of one activation.

    A step is a few operations, one loop turn, call or value produced; bulk work (a copied list,
    a repeated string) counts by its size, before it is done. The count depends on nothing but the
    expression and its data, so a replay runs out at the same place.

    `items` and `characters` count what the present evaluation produced, `height` the Python frames
    its calls stand on, `non_finite` is true once it met NaN or an infinity; they begin anew with
    each evaluation.

    A result that has parts of an earlier one is not walked whole to be checked. It takes the steps
    of the whole nevertheless, `spared` of which were not needed; or with `new_parts` only those of
    what was walked.
    """

    __slots__ = (
        *("_checked", "_new_parts", "characters", "height", "items"),
        *("joined", "limit", "non_finite", "spared", "used"),
    )

    def __init__(self, steps: int = DEFAULT_STEPS, *, new_parts: bool = False) -> None:
        self.limit = steps
        self.used = 0
        self.items = 0
        self.characters = 0
        self.height = 0
        self.non_finite = False
        self._checked = CheckedContainers()
        self.joined = self._checked.joined
        """Takes note of what a list was made of, so that it need not be walked to be checked."""
        self._new_parts = new_parts
        self.spared = 0

    def count_new_parts(self) -> None:
        """Count only what is walked from now on, and has been so far."""
        self._new_parts = True
        self.used -= self.spared
        self.spared = 0

    @property
    def remaining(self) -> int:
        """Steps left; never negative."""
        return max(0, self.limit - self.used)

    def spend(self, steps: int) -> None:
        """Count `steps` (raises ExpressionError once more than the limit were spent)."""
        self.used += steps
        if self.used > self.limit:
            self.fail()

    def fail(self) -> None:
        """Raise the ExpressionError of a spent budget."""
        raise ExpressionError(f"expression exceeded its budget of {self.limit} steps")

    def number(self, value: float) -> float:
        """Return a computed double, remembered if it is none that JSON can say."""
        if value - value != 0:
            self.non_finite = True
        return value

    def make_items(self, count: int) -> None:
        """Count items about to be made in one go (raises ExpressionError)."""
        self.items += count
        if self.items > MAX_ITEMS:
            raise ExpressionError(f"expression builds more than {MAX_ITEMS} items")
        self.used += 1 + count // _ITEMS_A_STEP
        if self.used > self.limit:
            self.fail()

    def make_text(self, size: int) -> None:
        """Count characters about to be made in one go (raises ExpressionError)."""
        self.characters += size
        if self.characters > MAX_CHARACTERS:
            raise ExpressionError(f"expression builds more than {MAX_CHARACTERS} characters")
        self.spend(1 + size // CHARACTERS_A_STEP)

    def read_text(self, size: int) -> None:
        """Count characters about to be read, compared or searched."""
        self.spend(size // CHARACTERS_A_STEP)

    def enter(self, height: int, steps: int) -> None:
        """Count a call that stands on `height` more frames (raises ExpressionError)."""
        self.used += steps
        if self.used > self.limit:
            self.fail()
        self.height += height
        if self.height > MAX_HEIGHT:
            raise ExpressionError("expression recurses too deeply")

    def weigh(self, value: Any) -> int:
        """Return the steps it takes to visit all of `value`, and spend them."""
        if isinstance(value, (list, dict)):
            return self._weigh_container(value)
        steps = 1 + len(value) // CHARACTERS_A_STEP if isinstance(value, str) else 1
        self.spend(steps)
        return steps

    def _weigh_container(self, value: list[Any] | dict[str, Any]) -> int:
        """Weigh level by level: values share parts, so there may be far more than memory shows."""
        total = 0
        level: Containers = [value]
        for _ in range(MAX_DATA_DEPTH):
            deeper: Containers = []
            for container in level:
                steps = 1 + len(container)
                self.spend(steps)
                characters = 0
                children: Any = container
                if isinstance(container, dict):
                    characters = sum(map(len, container))
                    children = container.values()
                for child in children:
                    kind = type(child)
                    if kind is str:
                        characters += len(child)
                    elif kind is list or kind is dict:
                        deeper.append(child)
                self.spend(characters // CHARACTERS_A_STEP)
                total += steps + characters // CHARACTERS_A_STEP
            if not deeper:
                return total
            level = deeper
        raise ExpressionError(f"data nests more than {MAX_DATA_DEPTH} deep")

    def check_result(self, value: Any) -> None:
        """Refuse what JSON cannot say, or could say only at length (raises ExpressionError)."""
        if isinstance(value, (list, dict)):
            walked, weight = self._checked.measure(value)
            self.used += walked if self._new_parts else weight
            if self.used > self.limit or weight > self.limit:
                self.fail()
            if not self._new_parts:
                self.spared += weight - walked
        elif isinstance(value, float) and value - value != 0:
            raise ExpressionError(NON_FINITE)

    def weigh_text(self, value: Any) -> int:
        """Spend what it takes to print `value`; return at least the characters it takes."""
        before = self.used
        self.weigh(value)
        size = (self.used - before) * 8 if isinstance(value, (list, dict)) else 32
        if isinstance(value, str):
            size = len(value)
        self.make_text(size)
        return size
