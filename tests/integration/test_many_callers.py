"""A thousand calls at once, and many workflow executions.

`make soak` makes a thousand; all tests make 400 (STIGMA_TEST_CALLERS, each of fifty calls): still
more than any service handles at a time.
"""

from __future__ import annotations

import asyncio
import os
import uuid

import pytest

from stigma.contracts.executions import Kind
from tests.integration.callers import Job, PythonCrowd, answer_of
from tests.integration.executions import AnyExecutions, WorkflowExecutions
from tests.integration.installation import Installation

# Fewer of workflows, because each of their executions is a run of the engine as well.
CALLERS = {Kind.AGENT: int(os.environ.get("STIGMA_TEST_CALLERS", "8")), Kind.WORKFLOW: 3}
CALLERS_OF_A_THOUSAND = 20
CALLS = 50


@pytest.mark.contract("a thousand at once", "agent", "workflow")
async def test_each_has_its_own_result(executions: AnyExecutions) -> None:
    await each_has_its_own_result(executions, CALLERS[executions.kind])


@pytest.mark.soak
@pytest.mark.contract("a thousand at once")
async def test_each_of_a_thousand_has_its_own_result(installation: Installation) -> None:
    await each_has_its_own_result(installation, CALLERS_OF_A_THOUSAND)


async def each_has_its_own_result(executions: AnyExecutions, callers: int) -> None:
    """Workflows of fifty calls each, all pending together, each with its own answer."""
    group = uuid.uuid4().hex
    crowds = [
        await executions.call(
            PythonCrowd,
            Job("echo", uuid.uuid4().hex, group=group, calls=CALLS),
            names_request=False,
        )
        for _ in range(callers)
    ]
    wrong = await asyncio.gather(*(crowd.result() for crowd in crowds))
    assert wrong == [[]] * callers
    count = callers * CALLS
    found = await executions.of_group(group, count, "phase = COMPLETED")
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
