"""The specification's examples: each runs as it is, or is refused for what is still to come."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.conformance.cases import ANYTHING, CASES, REFUSED
from tests.conformance.runs import Engine, Outcome
from tests.conformance.specification import (
    EXAMPLES,
    data_of,
    example_names,
    example_text,
    needs_specification,
)
from tests.conformance.stand_ins import StandIns
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

pytestmark = needs_specification
_MOST_SECONDS = 60.0
"""More than the waits of an example take on a busy machine."""


@pytest.fixture(scope="package")
async def running(
    request: pytest.FixtureRequest, engine: Engine
) -> dict[str, asyncio.Task[tuple[Outcome, float]]]:
    """The examples that were chosen, all of them started: the time is that of the longest."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    names = {call.params.get("name") for call in calls if call is not None}
    return {name: asyncio.create_task(_run(engine, name)) for name in CASES if name in names}


async def _run(engine: Engine, name: str) -> tuple[Outcome, float]:
    text = example_text(name)
    began = time.monotonic()
    outcome = await engine.run(text, data_of(text)["document"]["name"], CASES[name].input)
    return outcome, time.monotonic() - began


@pytest.mark.parametrize("name", list(CASES))
async def test_example(
    name: str, running: dict[str, asyncio.Task[tuple[Outcome, float]]], outside: StandIns
) -> None:
    case = CASES[name]
    outcome, seconds = await running[name]
    if case.problem is None:
        assert outcome.phase == "completed", outcome.problem
    else:
        assert outcome.problem == case.problem
    assert case.output is ANYTHING or outcome.output == case.output
    assert case.seconds - 0.1 <= seconds < _MOST_SECONDS
    if case.check is not None:
        case.check(outcome, outside)


@pytest.mark.parametrize("name", list(REFUSED))
def test_refused_example_says_where_and_that_it_is_for_now(name: str) -> None:
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(example_text(name), TASK_KINDS)
    pointer, what = REFUSED[name]
    problems = {problem.pointer: problem.message for problem in invalid.value.problems}
    assert problems[pointer].startswith(what)
    assert all("not supported in this release" in message for message in problems.values())


def test_own_count_of_examples_is_the_specifications() -> None:
    assert sorted([*CASES, *REFUSED]) == example_names()
    assert len(example_names()) == EXAMPLES
