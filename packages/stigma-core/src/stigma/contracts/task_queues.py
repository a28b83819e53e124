"""Temporal task queues."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskQueues:
    """The task queues of one installation.

    `prefix` keeps installations that share a namespace apart; it is empty for a single one.
    """

    prefix: str = ""

    @property
    def engine(self) -> str:
        """Workflow documents, served by `zigflow_worker`."""
        return f"{self.prefix}zigflow"

    @property
    def orchestrator(self) -> str:
        """`AgentWorkflow` and deliveries, served by `stigma_orchestrator`."""
        return f"{self.prefix}stigma"

    @property
    def watch(self) -> str:
        """Watching over callers, served by `stigma_orchestrator` with slots of its own."""
        return f"{self.prefix}stigma-watch"

    @property
    def ai(self) -> str:
        """Model calls, served by `ai_worker`."""
        return f"{self.prefix}stigma-ai"

    @classmethod
    def from_orchestrator(cls, queue: str) -> TaskQueues:
        """Return the installation whose orchestrator serves `queue`.

        Workflow code has no settings: it learns the prefix from the queue it runs on.
        """
        return cls(queue.removesuffix(cls().orchestrator))
