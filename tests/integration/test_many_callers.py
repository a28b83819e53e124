"""A thousand calls at once, and many workflow executions."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.integration.callers import Job, PythonCrowd
from tests.integration.installation import Installation
from tests.integration.workflow_calls import PythonWorkflowCrowd, WorkflowCalls

CALLERS, CALLS = 20, 50
WORKFLOW_CALLERS = 6


@pytest.mark.contract("a thousand at once")
async def test_each_has_its_own_result(installation: Installation) -> None:
    """Twenty workflows of fifty calls each, all pending together, each with its own answer."""
    session = uuid.uuid4().hex
    crowds = [
        await installation.call(
            PythonCrowd,
            Job("echo", uuid.uuid4().hex, session=session, calls=CALLS),
            names_request=False,
        )
        for _ in range(CALLERS)
    ]
    wrong = await asyncio.gather(*(crowd.result() for crowd in crowds))
    assert wrong == [[]] * CALLERS
    executions = await installation.of_session(session, CALLERS * CALLS, "phase = COMPLETED")
    assert len({execution.id for execution in executions}) == CALLERS * CALLS


@pytest.mark.contract("a thousand at once", "workflow")
async def test_each_of_three_hundred_workflow_executions_has_its_own_result(
    workflows: WorkflowCalls,
) -> None:
    """Six workflows of fifty calls each: fewer, because each is a run of the engine as well."""
    session = uuid.uuid4().hex
    crowds = [
        await workflows.call(
            PythonWorkflowCrowd,
            Job("echo", uuid.uuid4().hex, session=session, calls=CALLS),
            names_request=False,
        )
        for _ in range(WORKFLOW_CALLERS)
    ]
    wrong = await asyncio.gather(*(crowd.result() for crowd in crowds))
    assert wrong == [[]] * WORKFLOW_CALLERS
    count = WORKFLOW_CALLERS * CALLS
    executions = await workflows.of_session(session, count, "phase = COMPLETED")
    assert len({execution.id for execution in executions}) == count


@pytest.mark.contract("a thousand at once", "agent", "workflow")
async def test_services_are_none_the_worse(
    installation: Installation, workflows: WorkflowCalls
) -> None:
    """After the crowd, nothing is left over: the next call is as any other."""
    started = await installation.start(agent_id="echo", message="after")
    assert (await installation.ended(started.id)).status.output.text == "after"
    ran = await workflows.start(workflow_id="echo", input_json='{"said":"after"}')
    assert (await workflows.ended(ran.id)).status.output.json == '{"said":"after"}'
    for service in ("stigma_orchestrator", "ai_worker", "stigma_api", "zigflow_worker"):
        status, _ = await installation.stack.process(service).admin("/readyz")
        assert status == 200
