"""What fails a run from outside its tasks: size, documents, start inputs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError


async def test_data_that_grows_too_large_fails_the_run(engine: Any) -> None:
    problem = await engine.fault(
        """
        do:
          - grow:
              set: {a: "${ . }", b: "${ . }"}
              then: grow
        """,
        "x" * 100,
    )
    assert problem["type"].endswith("/errors/runtime")
    assert problem["detail"].startswith("the state of the run is larger than")


async def test_an_output_that_is_too_large_fails_the_run(engine: Any) -> None:
    problem = await engine.fault('do:\n  - t: {set: {a: "${ . }", b: "${ . }"}}', "x" * 1_000_000)
    assert problem["detail"].startswith("the output is larger than")


async def test_documents_that_are_not_valid_fail_the_run(engine: Any) -> None:
    problem = await engine.fault("do:\n  - t: {set: {a: 1}, then: nowhere}")
    assert problem["instance"] == "/do/0/t/then"
    assert "neither a directive" in problem["detail"]


@pytest.mark.parametrize("argument", [{"inputs": 1}, [1], {"document": 1}, {"options": {"x": 1}}])
async def test_a_start_input_of_another_shape_is_explained(engine: Any, argument: Any) -> None:
    handle = await engine.client.start_workflow(
        "example", argument, id=str(uuid.uuid4()), task_queue=engine.task_queue
    )
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert "Configuration Error at /: " in str(failure.value.cause)


async def test_documents_are_found_by_name_and_read_again(engine: Any, documents: Any) -> None:
    file = documents / "greet.yaml"
    file.write_text(engine.document("do:\n  - t: {set: {v: 1}}", name="greet"))
    for name in ("greet", "test.greet"):
        assert await (await engine.start(None, name=name)).result() == {"v": 1}
    file.write_text(engine.document("do:\n  - t: {set: {version: 2}}", name="greet"))
    assert await (await engine.start(None, name="greet")).result() == {"version": 2}
    handle = await engine.start(None, name="unknown")
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert "no document is named 'unknown'" in str(failure.value.cause)
