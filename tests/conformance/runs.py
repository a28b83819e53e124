"""Runs of documents on the engine."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from tests.stack.waiting import eventually


@dataclass
class Outcome:
    """The end of a run, and the tasks that it had."""

    phase: str
    """`completed`, `faulted` or `cancelled`."""
    output: Any = None
    problem: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the tasks, in the order in which they began."""
        return [entry["name"] for entry in self.trace]

    def statuses(self, name: str) -> list[str]:
        """Ends of the tasks of that name."""
        return [entry["status"] for entry in self.trace if entry["name"] == name]


@dataclass
class Engine:
    """The engine's queue on a Temporal server."""

    client: Client
    task_queue: str

    async def start(self, text: str, name: str, data: Any) -> WorkflowHandle[Any, Any]:
        """Start a document, as any client may."""
        return await self.client.start_workflow(
            name,
            {"document": text, "input": data},
            id=f"conformance-{uuid.uuid4()}",
            task_queue=self.task_queue,
        )

    async def run(self, text: str, name: str, data: Any) -> Outcome:
        """Run a document to its end."""
        return await outcome_of(await self.start(text, name, data))

    async def cancel(self, text: str, name: str, data: Any) -> Outcome:
        """Start a document, and cancel it once its first task runs."""
        handle = await self.start(text, name, data)
        await eventually(lambda: handle.query("trace"), what="the first task")
        await handle.cancel()
        return await outcome_of(handle)


async def outcome_of(handle: WorkflowHandle[Any, Any]) -> Outcome:
    """Wait for the end of a run."""
    try:
        outcome = Outcome("completed", output=await handle.result())
    except WorkflowFailureError as error:
        outcome = _failed(error.cause)
    outcome.trace = await handle.query("trace")
    return outcome


def _failed(cause: BaseException) -> Outcome:
    if isinstance(cause, CancelledError):
        return Outcome("cancelled")
    assert isinstance(cause, ApplicationError)
    return Outcome("faulted", problem=cause.details[0])
