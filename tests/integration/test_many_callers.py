"""A thousand calls at once, and many workflow executions."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from stigma.contracts.executions import Kind
from tests.integration.callers import Job, PythonCrowd, answer_of
from tests.integration.executions import AnyExecutions, WorkflowExecutions
from tests.integration.installation import Installation

# Fewer of workflows, because each of their executions is a run of the engine as well.
CALLERS, CALLS = {Kind.AGENT: 20, Kind.WORKFLOW: 3}, 50


@pytest.mark.contract("a thousand at once", "agent", "workflow")
async def test_each_has_its_own_result(executions: AnyExecutions) -> None:
    """Workflows of fifty calls each, all pending together, each with its own answer."""
    session, callers = uuid.uuid4().hex, CALLERS[executions.kind]
    crowds = [
        await executions.call(
            PythonCrowd,
            Job("echo", uuid.uuid4().hex, session=session, calls=CALLS),
            names_request=False,
        )
        for _ in range(callers)
    ]
    wrong = await asyncio.gather(*(crowd.result() for crowd in crowds))
    assert wrong == [[]] * callers
    count = callers * CALLS
    found = await executions.of_session(session, count, "phase = COMPLETED")
    assert len({execution.id for execution in found}) == count


@pytest.mark.contract("a thousand at once", "agent", "workflow")
async def test_services_are_none_the_worse(
    installation: Installation, workflows: WorkflowExecutions
) -> None:
    """After the crowd, nothing is left over: the next call is as any other."""
    of_each_kind: tuple[AnyExecutions, ...] = (installation, workflows)
    for executions in of_each_kind:
        started = await executions.ask("echo", "after")
        assert answer_of(await executions.ended(started.id)) == "after"
    for service in ("stigma_orchestrator", "ai_worker", "stigma_api", "zigflow_worker"):
        await installation.stack.process(service).wait_ready()
