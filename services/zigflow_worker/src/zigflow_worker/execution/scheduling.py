"""The protocol between interpreter and scheduler."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from zigflow_worker.expressions import JSON
from zigflow_worker.program.model import Branch


class Scheduling(Protocol):
    """Turns, timers and effects of branches."""

    def enqueue(self, branch: Branch) -> None:
        """Advance a branch later in this activation."""

    def wait(
        self,
        branch: Branch,
        until: float | None,
        effect: Coroutine[Any, Any, JSON] | None,
        summary: str,
    ) -> None:
        """Wake a branch at a time, whose timer has a summary, or when an effect is done."""

    def release(self, branch: Branch) -> None:
        """Forget timers and effects of a branch; effects are cancelled."""

    def reserve_effect(self, branch: Branch, size: int) -> bool:
        """Return whether a branch may begin an effect whose command has so many bytes.

        If not, it is woken when it may try again.
        """

    def random(self, low: float, high: float) -> float:
        """Return a number between two, the same on every replay."""

    def unique_id(self) -> str:
        """Return a UUID that no other call returns, the same on every replay."""

    def patched(self, change: str) -> bool:
        """Return whether a run has a change of the engine: False where it began before it."""
