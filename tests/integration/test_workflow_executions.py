"""What callers see of workflow executions alone: the engine's runs, documents and their errors."""

from __future__ import annotations

import json
import uuid

import pytest

from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import Called, WorkflowExecutions, details_of, failure_of
from tests.integration.installation import Installation, document

LOST = "agent workflow terminated / run timeout / stuck on a bad deploy"
HEARTBEAT = 4.0


@pytest.mark.contract("agent succeeds", "workflow")
async def test_it_names_its_run(workflows: WorkflowExecutions) -> None:
    called = await workflows.call(PythonCaller, Job("echo", "hello"))
    await called.result()
    named = (await workflows.told(called.execution_id)).status.run
    run = await workflows.run_of(called.execution_id).describe()
    assert (named.workflow_id, named.run_id) == (run.id, run.run_id)
    assert run.workflow_type == "echo"


@pytest.mark.contract("agent fails, any exception", "workflow")
async def test_error_of_a_document(workflows: WorkflowExecutions) -> None:
    called = await workflows.call(PythonCaller, Job("broken", "hello"))
    await failure_of(called)
    execution = await workflows.told(called.execution_id)
    assert json.loads(execution.status.error_json)["type"] == "https://example.com/broken"


@pytest.mark.contract("agent fails, any exception", "workflow")
async def test_failure_of_an_agent(workflows: WorkflowExecutions) -> None:
    called = await workflows.call(PythonCaller, Job("disappointed", "hello"))
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    details = details_of(failure)
    assert (details["reason"], details["step"]) == (
        "WORKFLOW_ERROR",
        "/do/0/ask",
    )
    problem = json.loads((await workflows.told(called.execution_id)).status.error_json)
    assert problem["type"].endswith("/errors/agent/failed")
    assert problem["detail"].startswith("INVALID_REQUEST")


@pytest.mark.contract("agent fails, any exception", "workflow")
async def test_a_document_that_the_engine_refuses(
    installation: Installation, workflows: WorkflowExecutions
) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    wrong = document("wrong", "t: {set: {a: 1}, then: nowhere}")
    execution = await workflows.start(spec=WorkflowSpec(document=wrong), callback_token=token)
    failure = await failure_of(Called(parked, Job("", ""), execution.id))
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    details = details_of(failure)
    assert (details["reason"], details["step"]) == (
        "INVALID_WORKFLOW",
        "/do/0/t/then",
    )
    assert "nowhere" in failure.message


@pytest.mark.contract(LOST, "workflow")
async def test_execution_terminated(
    installation: Installation, workflows: WorkflowExecutions
) -> None:
    """Its caller's next attempt is told; the run it leaves behind stops, and so does its agent."""
    message = uuid.uuid4().hex
    job = Job("held", message, heartbeat_timeout=HEARTBEAT)
    called = await workflows.call(PythonCaller, job)
    call = await installation.gate.held(message)
    await installation.client.get_workflow_handle(called.execution_id).terminate()
    await installation.gate.hung_up(call)
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert details_of(failure)["reason"] == "TERMINATED"
    await workflows.assert_run_cancelled(called.execution_id)


@pytest.mark.contract(LOST, "workflow")
async def test_run_terminated(installation: Installation, workflows: WorkflowExecutions) -> None:
    message = uuid.uuid4().hex
    called = await workflows.call(PythonCaller, Job("held", message))
    call = await installation.gate.held(message)
    await workflows.run_of(called.execution_id).terminate("a test wants it")
    failure = await failure_of(called)
    assert failure.type == "WORKFLOW_EXECUTION_FAILED"
    assert details_of(failure)["reason"] == "TERMINATED"
    assert "in the engine" in failure.message
    # Nobody is left to ask for it: its agent stops when it finds its caller gone.
    call.answer("too late")
