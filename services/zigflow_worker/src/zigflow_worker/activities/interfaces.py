"""Interfaces of the engine's own activities."""

from __future__ import annotations

from abc import ABC, abstractmethod

from temporalio import activity

from stigma.contracts.engine_calls import WAIT_EXACTLY

RESOLVE_DEFINITION = "resolve_definition"
END_ACTIVATION = "yield"
RECORD_PLAN = "plan"


class EngineActivities(ABC):
    """Served by the engine's worker to its own workflows."""

    @activity.defn(name=RESOLVE_DEFINITION)
    @abstractmethod
    async def resolve_definition(self, workflow_type: str) -> str:
        """Return the text of the document called `name` or `namespace.name`.

        The result of an activity is recorded, which keeps a run on the text it began with.

        Raises:
            ApplicationError: of type `Refusal.UNKNOWN_DOCUMENT`, non-retryable.
        """

    @activity.defn(name=END_ACTIVATION)
    @abstractmethod
    async def end_activation(self) -> None:
        """Do nothing: while a workflow waits for it, its worker thread serves others."""

    @activity.defn(name=RECORD_PLAN)
    @abstractmethod
    async def record_plan(self, turns: int) -> int:
        """Return `turns`, the length of the next activations: results are recorded."""

    @activity.defn(name=WAIT_EXACTLY)
    @abstractmethod
    async def wait_exactly(self, seconds: float) -> None:
        """Complete after so many seconds, without taking a worker's slot meanwhile."""
