"""A run that only checks its document."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

from temporalio.client import WorkflowHandle

from stigma.contracts import engine as contract
from stigma.contracts.refusals import Refusal
from zigflow_worker.start import read_start


async def checked(engine: Any, text: str) -> WorkflowHandle[Any, Any]:
    """Have a document checked, as the API does."""
    handle: WorkflowHandle[Any, Any] = await engine.client.start_workflow(
        "check",
        contract.validation_argument(text),
        id=f"check-{uuid.uuid4()}",
        task_queue=engine.task_queue,
    )
    engine.handles.append(handle)
    return handle


async def test_a_valid_document_is_named_and_not_run(engine: Any) -> None:
    text = engine.document("do:\n  - never: {raise: {error: {type: odd, status: 500}}}")
    handle = await checked(engine, text)
    assert await handle.result() == {
        "valid": True,
        "namespace": "test",
        "name": "example",
        "version": "1.0.0",
    }
    assert await handle.query("trace") == []


async def test_what_is_wrong_is_said_with_its_place(engine: Any) -> None:
    handle = await checked(engine, engine.document("do:\n  - t: {set: {a: 1}, then: nowhere}"))
    problem = await engine.fault_of(handle)
    assert problem["refusal"] == Refusal.DOCUMENT
    assert problem["instance"] == "/do/0/t/then"
    assert "7:22: /do/0/t/then: " in problem["detail"]


async def test_all_that_is_wrong_is_listed_and_bounded(engine: Any) -> None:
    tasks = "\n".join(f"  - t{at}: {{wait: soon, if: '.a ]'}}" for at in range(60))
    problem = await engine.fault_of(await checked(engine, engine.document(f"do:\n{tasks}")))
    listed = problem[contract.PROBLEMS_KEY]
    assert len(listed) == contract.MAX_PROBLEMS
    assert listed[:2] == [
        {
            "line": 7,
            "column": 10,
            "pointer": "/do/0/t0/wait",
            "message": "'soon' is not an ISO 8601 duration such as PT30S",
        },
        {
            "line": 7,
            "column": 30,
            "pointer": "/do/0/t0/if",
            "message": "invalid expression: unexpected ']'",
        },
    ]
    # A run tells the first of each task.
    started = await engine.start(engine.document(f"do:\n{tasks}"))
    assert contract.PROBLEMS_KEY not in await engine.fault_of(started)


def test_a_document_is_not_checked_only_unless_asked() -> None:
    assert not read_start({"document": "d"}).validate
    assert read_start({"document": "d", "validate": True}).validate


def test_a_check_of_a_file_imports_no_worker() -> None:
    program = """\
import sys, zigflow_worker.validation
print(*sorted({"temporalio.client", "temporalio.worker", "pydantic"} & {*sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], check=True, timeout=180, capture_output=True
    )
    assert done.stdout.split() == []
