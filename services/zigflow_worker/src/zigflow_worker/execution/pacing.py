"""Where activations end, so that a workflow task never takes its worker for long.

An activation ends after a number of turns (a turn begins a task or goes on with one). The number is
planned from the steps that the turns before took, and each plan is recorded in the history. So a
replay ends activations where the run did, also when a later release counts steps otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from zigflow_worker.changes import COUNTED_TURNS
from zigflow_worker.expressions import Budget

STEPS_PER_TASK = 10
"""Steps that a task counts for, besides its expressions."""

_STEPS_PER_FIRST_TURN = 12
"""Steps expected of a turn before any was measured; most take about 7."""
_MOST_TIMES = 4
"""Times the planned steps at which an activation ends before its turns are over.

Only a run whose expressions suddenly take this much more comes to it. There, and only there, a
replay needs the same count of steps.
"""
_GROWTH = 2
"""Times that a plan may be longer than the one before."""


class Pace:
    """The length of a run's activations.

    Args:
        target: steps that an activation should take.
        patched: whether the run has a change of the engine (`workflow.patched`).
    """

    def __init__(self, target: int, patched: Callable[[str], bool]) -> None:
        self.turns = 0
        """Turns of this activation so far."""
        self._target = target
        self._patched = patched
        self.planned_turns = max(1, target // _STEPS_PER_FIRST_TURN)
        self.most_steps = target
        """Below both, `allows` is true; who asks it often looks at them first."""
        self._is_decided = False

    def begin_activation(self) -> None:
        """Begin to count anew."""
        self.turns = 0

    def allows(self, budget: Budget) -> bool:
        """Return whether the activation, whose steps a budget counts, goes on."""
        if self.turns < self.planned_turns and budget.used < self.most_steps:
            return True
        if self._is_decided:
            return False
        self._decide(budget)
        return self.allows(budget)

    def next_plan(self, steps: int) -> int:
        """Return the turns that the next activation should have, after one of so many steps."""
        wanted = self._target * self.turns // max(1, steps)
        return max(1, min(wanted, _GROWTH * self.planned_turns))

    def follow(self, plan: int) -> None:
        """Have the activations that follow end after so many turns."""
        self.planned_turns = plan

    @property
    def counts_turns(self) -> bool:
        """Whether the run ends activations by turns: one that began before does so by steps."""
        return self._is_decided and self.most_steps != self._target

    def _decide(self, budget: Budget) -> None:
        self._is_decided = True
        if self._patched(COUNTED_TURNS):
            self.most_steps = _MOST_TIMES * self._target
            budget.count_new_parts()
        else:
            self.planned_turns = sys.maxsize
