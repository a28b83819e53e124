"""A scenario, and the recorder that it writes histories with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle

from stigma.contracts import ids
from tests.reliability.calls import Call, Run
from tests.reliability.fault_site import FaultSite
from tests.stack.histories import as_data
from tests.stack.stack import Stack
from tests.stack.waiting import eventually
from tools.histories.outside import Outside


@dataclass
class Recorder:
    """Writes histories into a directory, as `NAME.PART.RUN.json`."""

    site: FaultSite
    outside: Outside
    directory: Path

    @property
    def stack(self) -> Stack:
        """The services under record."""
        return self.site.stack

    async def call(self, name: str, call: Call) -> None:
        """Write the histories of a caller and of its agent, once both have ended."""
        try:
            await call.result()
        except WorkflowFailureError:
            sys.stderr.write(f"{name}: the caller failed, as it should\n")
        await self.workflow(f"{name}.caller", call.handle)
        await self.agent(name, await self.site.callers.execution_id(call))

    async def agent(self, name: str, execution_id: str) -> None:
        """Write an agent's history, of all its runs, once it has ended."""
        await self.site.outcome(execution_id)
        await self.by_id(f"{name}.agent", execution_id)

    async def execution(self, name: str, run: Run) -> None:
        """Write the histories of a caller, its workflow execution and the engine's run."""
        for part, handle in (
            ("caller", run.handle),
            ("execution", run.execution),
            ("run", run.engine),
        ):
            await self.ended(f"{name}.{part}", handle)

    async def session(self, name: str, session_id: str) -> None:
        """Write the history of a session, once it has ended."""
        workflow_id = ids.session_workflow_id(
            self.stack.principal, self.stack.namespace, session_id
        )
        handle: WorkflowHandle[Any, Any] = self.stack.client.get_workflow_handle(workflow_id)
        await self.ended(f"{name}.session", handle)

    async def of_type(self, name: str, workflow_type: str) -> None:
        """Write the history of one workflow of a type that runs for the API alone."""

        async def found() -> str | None:
            query = f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Completed'"
            async for one in self.stack.client.list_workflows(query):
                return one.id
            return None

        workflow_id = await eventually(found, what=f"a workflow of type {workflow_type}")
        await self.by_id(name, workflow_id)

    async def by_id(self, name: str, workflow_id: str) -> None:
        """Write every run of a workflow, once it has ended."""
        await self.ended(name, self.stack.client.get_workflow_handle(workflow_id))

    async def ended(self, name: str, handle: WorkflowHandle[Any, Any]) -> None:
        """Write every run of a workflow, once it has ended, however that is."""
        with contextlib.suppress(WorkflowFailureError):
            await handle.result()
        await self.workflow(name, handle)

    async def workflow(self, name: str, handle: WorkflowHandle[Any, Any]) -> None:
        """Write every run of a workflow."""
        run_id: str | None = handle.result_run_id or (await _first_run(handle))
        number = 0
        while run_id:
            run = self.stack.client.get_workflow_handle(handle.id, run_id=run_id)
            history = await run.fetch_history()
            number += 1
            path = self.directory / f"{name}.{number}.json"
            assert not path.exists(), f"two scenarios write {path.name}"
            path.write_text(as_data(history))
            closing = history.events[-1].workflow_execution_continued_as_new_event_attributes
            run_id = closing.new_execution_run_id

    def runs(self, name: str) -> int:
        """Return how many runs of a workflow were written."""
        return len(list(self.directory.glob(f"{name}.*.json")))


@dataclass(frozen=True)
class Scenario:
    """One story. ``alone``: it does harm to what others go through."""

    record: Callable[[Recorder], Awaitable[None]]
    features: tuple[str, ...]
    """Features that its histories show; `contents.features` lists those of a release."""
    alone: bool = False

    @property
    def name(self) -> str:
        """The name of its histories."""
        return self.record.__name__.strip("_")


async def _first_run(handle: WorkflowHandle[Any, Any]) -> str:
    """The id of a workflow's first run."""
    described = await handle.describe()
    return described.raw_description.workflow_execution_info.first_run_id or described.run_id
