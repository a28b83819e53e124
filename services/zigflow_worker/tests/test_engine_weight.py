"""Limits of reading and compiling a document, known before it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from temporalio import workflow

from stigma.contracts import limits
from stigma.contracts.rule_expressions import CheckingDocument
from zigflow_worker.definition import HeavyDocumentError, InvalidDocumentError
from zigflow_worker.programs import compile_text, problems_in
from zigflow_worker.tasks.registry import TASK_KINDS

HEAD = {"dsl": "1.0.3", "namespace": "test", "name": "heavy", "version": "1.0.0"}


def tasks(count: int) -> list[Any]:
    return [{f"t{n}": {"set": {"v": n}}} for n in range(count)]


def with_schemas(count: int) -> list[Any]:
    schema = {"schema": {"document": {"type": "object"}}}
    return [{f"t{n}": {"set": {"v": n}, "output": schema}} for n in range(count)]


def long_expressions(count: int) -> list[Any]:
    text = "+".join(f".a{n}" for n in range(100))
    return [{"t": {"set": {f"k{n}": f"${{ .b{n} + {text} }}" for n in range(count)}}}]


def as_json(do: list[Any]) -> str:
    return json.dumps({"document": HEAD, "do": do})


def as_yaml(do: list[Any]) -> str:
    """JSON but for its first line, so that it is read as YAML."""
    return f"# YAML\n{as_json(do)}"


HOSTILE: dict[str, tuple[Callable[[list[Any]], str], list[Any], str]] = {
    "tasks": (as_json, tasks(9000), "/do/"),
    "tasks in YAML": (as_yaml, tasks(6000), "/do/"),
    "branches": (as_json, [{"f": {"fork": {"branches": tasks(9000)}}}], "/do/0/f/fork/branches/"),
    "schemas": (as_json, with_schemas(2500), "/output"),
    "expressions": (as_json, long_expressions(400), "/do/0/t/set"),
    "values": (as_yaml, [{"t": {"set": {"v": list(range(40_000))}}}], "/do/0/t/set/v/"),
    "invalid tasks": (as_json, [{f"t{n}": {"sets": 1}} for n in range(9000)], "/do/"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_beyond_the_limit(name: str) -> None:
    write, do, place = HOSTILE[name]
    text = write(do)
    began = time.process_time()
    with pytest.raises(HeavyDocumentError) as error:
        compile_text(text, TASK_KINDS)
    # Half a second, and three times as much where code is measured.
    assert time.process_time() - began < 5
    [problem] = error.value.problems
    assert place in problem.pointer
    assert problem.line >= 1
    assert f"{limits.MAX_DOCUMENT_WEIGHT:,}" in problem.message


@pytest.mark.parametrize(
    ("write", "do"),
    [
        (as_json, tasks(2500)),
        (as_yaml, tasks(1000)),
        (as_json, with_schemas(700)),
        (as_json, long_expressions(50)),
        (as_json, [{"f": {"fork": {"branches": tasks(2500)}}}]),
    ],
    ids=["tasks", "tasks in YAML", "schemas", "expressions", "branches"],
)
def test_a_large_document_within_it(write: Callable[[list[Any]], str], do: list[Any]) -> None:
    text = write(do)
    began = time.process_time()
    assert compile_text(text, TASK_KINDS).name == "heavy"
    assert time.process_time() - began < 5


def test_rules_too_large_together_are_no_mistake_of_one() -> None:
    """The API checks each alone, then."""
    rule = ".a+" * 1_300 + "1"
    alone, together = CheckingDocument([rule]), CheckingDocument([rule] * limits.MAX_APPROVAL_RULES)
    assert not problems_in(alone.text, TASK_KINDS)
    [problem] = problems_in(together.text, TASK_KINDS)
    assert problem.line > 1
    assert together.place(problem.line, problem.column, problem.message) is None


def test_without_the_limit() -> None:
    assert compile_text(as_json(tasks(3000)), TASK_KINDS, bounded=False).name == "heavy"
    with pytest.raises(InvalidDocumentError):
        compile_text(as_json([{"t": {"sets": 1}}]), TASK_KINDS, bounded=False)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is reached at once, also where code is measured and the machine is busy."""
    monkeypatch.setattr(limits, "MAX_DOCUMENT_WEIGHT", 5_000)


async def test_a_run_is_refused(small_limit: None, engine: Any) -> None:
    problem = await engine.fault_of(await engine.start(as_json(tasks(60)), name="heavy"))
    assert (problem["refusal"], problem["type"].rpartition("/")[2]) == (
        "INVALID_DOCUMENT",
        "validation",
    )


async def test_a_run_that_began_before_the_limit_is_replayed(
    small_limit: None, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's fixture replays each history, where nothing says that there was a limit."""
    with monkeypatch.context() as before:
        before.setattr(workflow, "patched", lambda _: False)
        do = [*tasks(61), {"w": {"wait": "PT1S"}}]
        assert await (await engine.start(as_json(do), name="heavy")).result() == {"v": 60}
