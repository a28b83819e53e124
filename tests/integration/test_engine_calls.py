"""The engine as a caller: documents with `call: agent`."""

from __future__ import annotations

import textwrap
import uuid

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from stigma.contracts.executions import phase_name
from tests.integration.installation import Installation

HEAD = """\
document: {dsl: '1.0.3', namespace: tests, name: document, version: '1.0.0'}
do:
"""
ERRORS = "https://open-workflow-specification.org/spec/1.0.0/errors/agent/"


def document(tasks: str) -> str:
    """A document of these tasks."""
    return HEAD + textwrap.indent(textwrap.dedent(tasks).strip("\n"), "  ") + "\n"


CATCHING = """
    - ask:
        try:
          - call:
              call: agent
              with: {agent: %s, message: "${ .message }", labels: {group: "${ .group }"}%s}
        catch:
          errors: {with: {type: %s}}
          as: error
          do:
            - tell: {set: {caught: "${ $error.type }", detail: "${ $error.detail }"}}
"""


def catching(agent: str, error: str, more: str = "") -> str:
    """A document that asks an agent and catches one type of error."""
    return document(CATCHING % (agent, more, ERRORS + error))


@pytest.fixture
def asked() -> dict[str, str]:
    """A document's input."""
    return {"message": uuid.uuid4().hex, "group": uuid.uuid4().hex}


@pytest.mark.contract("agent succeeds")
async def test_success(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(catching("echo", "failed"), asked)
    assert await run.result() == asked["message"]
    [execution] = await installation.of_group(asked["group"], 1)
    assert phase_name(await installation.ended(execution.id)) == "COMPLETED"


@pytest.mark.contract("agent fails, any exception")
async def test_failure_caught(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(catching("broken", "failed"), asked)
    outcome = await run.result()
    assert outcome["caught"] == ERRORS + "failed"
    assert outcome["detail"].startswith("INVALID_REQUEST: ")


@pytest.mark.contract("agent fails, any exception")
async def test_failure_not_caught(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(catching("broken", "timeout"), asked)
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert "agent/failed" in str(caught.value.cause)
    assert "/do/0/ask/try/0/call" in str(caught.value.cause)


@pytest.mark.contract("agent exceeds its deadline")
async def test_deadline_caught(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(
        catching("slow", "timeout", ", config: {timeout: PT1S}"), asked
    )
    outcome = await run.result()
    assert outcome["caught"] == ERRORS + "timeout"
    assert outcome["detail"].startswith("DEADLINE: ")


@pytest.mark.contract("agent cancelled through the API")
async def test_cancelled_caught(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(catching("held", "cancelled"), asked)
    await installation.gate.held(asked["message"])
    [execution] = await installation.of_group(asked["group"], 1)
    await installation.cancel(execution.id)
    assert (await run.result())["caught"] == ERRORS + "cancelled"


@pytest.mark.contract("caller cancelled (ours)")
async def test_run_cancelled(installation: Installation, asked: dict[str, str]) -> None:
    run = await installation.run_document(catching("held", "cancelled"), asked)
    call = await installation.gate.held(asked["message"])
    await run.cancel()
    await installation.gate.hung_up(call)
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, CancelledError)
    [execution] = await installation.of_group(asked["group"], 1)
    assert phase_name(await installation.ended(execution.id)) == "CANCELLED"


@pytest.mark.contract("caller cancelled (ours)")
async def test_task_timed_out(installation: Installation, asked: dict[str, str]) -> None:
    """The document's own timeout of the task cancels the call, and with it the agent."""
    tasks = """
        - ask:
            try:
              - call:
                  timeout: {after: PT5S}
                  call: agent
                  with: {agent: held, message: "${ .message }", labels: {group: "${ .group }"}}
            catch:
              errors: {with: {status: 408}}
              do:
                - tell: {set: {caught: timeout}}
    """
    run = await installation.run_document(document(tasks), asked)
    call = await installation.gate.held(asked["message"])
    assert (await run.result())["caught"] == "timeout"
    await installation.gate.hung_up(call)
    [execution] = await installation.of_group(asked["group"], 1)
    assert phase_name(await installation.ended(execution.id)) == "CANCELLED"


@pytest.mark.contract("a thousand at once")
async def test_in_parallel(installation: Installation, asked: dict[str, str]) -> None:
    """Each branch has a token, and an answer, of its own, whatever the order of the answers."""
    names = ["one", "two", "three", "four"]
    said = {name: f"{asked['message']} {name}" for name in names}
    branches = [
        f"{{{name}: {{call: agent, with: {{agent: held, message: {said[name]}, "
        f"labels: {{group: {asked['group']}}}}}}}}}"
        for name in names
    ]
    tasks = f"- ask: {{fork: {{branches: [{', '.join(branches)}]}}}}"
    run = await installation.run_document(document(tasks), asked)
    calls = {name: await installation.gate.held(said[name]) for name in names}
    for name in reversed(names):
        calls[name].answer(f"answer {name}")
    assert await run.result() == [f"answer {name}" for name in names]
    executions = await installation.of_group(asked["group"], 4)
    fingerprints = {
        (await installation.ended(execution.id)).status.callback.fingerprint
        for execution in executions
    }
    assert len(fingerprints) == len(executions) == 4
