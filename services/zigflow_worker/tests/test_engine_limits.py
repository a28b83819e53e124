"""What fails a run from outside its tasks: size, documents, start inputs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest


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
    assert problem["reason"] == "TOO_LARGE"


async def test_an_output_that_is_too_large_fails_the_run(engine: Any) -> None:
    problem = await engine.fault('do:\n  - t: {set: {a: "${ . }", b: "${ . }"}}', "x" * 1_000_000)
    assert problem["detail"].startswith("the output is larger than")
    assert problem["reason"] == "TOO_LARGE"


async def test_documents_that_are_not_valid_fail_the_run(engine: Any) -> None:
    problem = await engine.fault("do:\n  - t: {set: {a: 1}, then: nowhere}")
    assert (problem["instance"], problem["refusal"]) == ("/do/0/t/then", "INVALID_DOCUMENT")
    assert "neither a directive" in problem["detail"]


@pytest.mark.parametrize(
    "argument", [{"inputs": 1}, [1], {"document": 1}, {"options": {"x": 1}}, {"validate": 1}]
)
async def test_a_start_input_of_another_shape_is_explained(engine: Any, argument: Any) -> None:
    handle = await engine.client.start_workflow(
        "example", argument, id=str(uuid.uuid4()), task_queue=engine.task_queue
    )
    problem = await engine.fault_of(handle)
    assert problem["type"].endswith("/errors/configuration")
    assert (problem["instance"], problem["refusal"]) == ("/", "INVALID_START")


async def test_documents_are_found_by_name_and_read_again(engine: Any, documents: Any) -> None:
    file = documents / "greet.yaml"
    file.write_text(engine.document("do:\n  - t: {set: {v: 1}}", name="greet"))
    for name in ("greet", "test.greet"):
        assert await (await engine.start(None, name=name)).result() == {"v": 1}
    file.write_text(engine.document("do:\n  - t: {set: {version: 2}}", name="greet"))
    assert await (await engine.start(None, name="greet")).result() == {"version": 2}
    problem = await engine.fault_of(await engine.start(None, name="unknown"))
    assert problem["type"].endswith("/errors/configuration")
    assert problem["detail"].startswith("no document is named 'unknown'")
    assert problem["refusal"] == "UNKNOWN_DOCUMENT"


@pytest.mark.parametrize(
    "body",
    [
        "input: {schema: {document: {type: object}}}\ndo: [{t: {set: {a: 1}}}]",
        "input: {from: .a.b}\ndo: [{t: {set: {a: 1}}}]",
        "timeout: {after: '${ . }'}\ndo: [{t: {set: {a: 1}}}]",
    ],
)
async def test_an_input_that_does_not_fit_is_told_from_a_failed_task(
    engine: Any, body: str
) -> None:
    assert (await engine.fault(body, "text"))["refusal"] == "INVALID_INPUT"
    inside = "do: [{t: {input: {schema: {document: {type: object}}}, set: {a: 1}}}]"
    assert "refusal" not in await engine.fault(inside, "text")
