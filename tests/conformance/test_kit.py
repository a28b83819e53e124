"""The conformance kit: every scenario, its text unchanged, on the engine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from tests.conformance.runs import Engine, Outcome
from tests.conformance.specification import FEATURES, data_of, needs_specification
from tests.conformance.stand_ins import StandIns
from tests.conformance.task_ends import with_end_at, without_catching

pytestmark = needs_specification


class Scenario:
    """One scenario: what was given, and what came of it."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.loop = loop
        self.text = ""
        self.data: Any = None
        self.outcome = Outcome("not started")

    def execute(self, text: str) -> Outcome:
        document = data_of(text)["document"]
        # Steps are not coroutines: the loop, which is also the stand-ins', runs meanwhile.
        return self.loop.run_until_complete(self.engine.run(text, document["name"], self.data))

    def cancel(self) -> Outcome:
        name = data_of(self.text)["document"]["name"]
        return self.loop.run_until_complete(self.engine.cancel(self.text, name, self.data))

    @property
    def output(self) -> Any:
        assert self.outcome.phase == "completed", self.outcome.problem
        return self.outcome.output


@pytest.fixture(scope="package")
async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.fixture
def scenario(engine: Engine, loop: asyncio.AbstractEventLoop) -> Scenario:
    return Scenario(engine, loop)


# --- Arrange and act


@given("a workflow with definition:")
def a_workflow(scenario: Scenario, docstring: str) -> None:
    scenario.text = docstring


@given("given the workflow input is:")
def an_input(scenario: Scenario, docstring: str) -> None:
    scenario.data = data_of(docstring)


@when("the workflow is executed")
def execute(scenario: Scenario, request: pytest.FixtureRequest, outside: StandIns) -> None:
    before = len(outside.received)
    scenario.outcome = scenario.execute(scenario.text)
    trap = TRAPS.get(request.node.name)
    if trap is not None:
        assert trap(scenario.outcome, [f"{r.method} {r.path}" for r in outside.received[before:]])


@when("the workflow is cancelled")
def cancel(scenario: Scenario) -> None:
    scenario.outcome = scenario.cancel()


# --- Assert on the workflow


@then("the workflow should complete")
def completes(scenario: Scenario) -> None:
    assert scenario.outcome.phase == "completed", scenario.outcome.problem


@then("the workflow should complete with output:")
def completes_with(scenario: Scenario, docstring: str) -> None:
    assert scenario.output == data_of(docstring)


@then("the workflow should fault")
def faults(scenario: Scenario) -> None:
    assert scenario.outcome.phase == "faulted"


@then("the workflow should fault with error:")
def faults_with(scenario: Scenario, docstring: str) -> None:
    assert scenario.outcome.phase == "faulted"
    assert scenario.outcome.problem == data_of(docstring)


@then("the workflow should cancel")
def cancels(scenario: Scenario) -> None:
    assert scenario.outcome.phase == "cancelled"


@then(parsers.re("the workflow output should have properties (?P<paths>'.+')"))
def has_properties(scenario: Scenario, paths: str) -> None:
    for path in re.findall(r"'([^']+)'", paths):
        assert property_of(scenario.output, path) is not None, path


@then(parsers.re(r"the workflow output should have an? '(?P<path>[^']+)' property with value:"))
def has_property(scenario: Scenario, path: str, docstring: str) -> None:
    assert property_of(scenario.output, path) == data_of(docstring)


@then(
    parsers.re(
        r"the workflow output should have an? '(?P<path>[^']+)' property "
        r"containing (?P<count>\d+) items"
    )
)
def has_items(scenario: Scenario, path: str, count: str) -> None:
    assert len(property_of(scenario.output, path)) == int(count)


def property_of(value: Any, path: str) -> Any:
    """A property inside maps; KeyError where there is none."""
    for name in path.split("."):
        value = value[name]
    return value


# --- Assert on tasks


@then(parsers.parse("{name:w} should run first"))
def runs_first(scenario: Scenario, name: str) -> None:
    assert scenario.outcome.names[0] == name


@then(parsers.parse("{name:w} should run last"))
def runs_last(scenario: Scenario, name: str) -> None:
    assert scenario.outcome.names[-1] == name


@then(parsers.parse("{name:w} should run before {other:w}"))
def runs_before(scenario: Scenario, name: str, other: str) -> None:
    names = scenario.outcome.names
    assert names.index(name) < names.index(other)


@then(parsers.parse("{name:w} should run after {other:w}"))
def runs_after(scenario: Scenario, name: str, other: str) -> None:
    runs_before(scenario, other, name)


@then(parsers.re(r"(?!the workflow)(?P<name>\w+) should (?P<verb>cancel|complete|fault)"))
def task_ends(scenario: Scenario, name: str, verb: str) -> None:
    status = {"cancel": "cancelled", "complete": "completed", "fault": "faulted"}[verb]
    assert status in scenario.outcome.statuses(name)


@then(parsers.parse("{name:w} should complete with output:"))
def task_completes_with(scenario: Scenario, name: str, docstring: str) -> None:
    task_ends(scenario, name, "complete")
    outcome = scenario.execute(with_end_at(scenario.text, name))
    assert outcome.output == data_of(docstring)


@then(parsers.parse("{name:w} should fault with error:"))
def task_faults_with(scenario: Scenario, name: str, docstring: str) -> None:
    task_ends(scenario, name, "fault")
    outcome = scenario.execute(without_catching(scenario.text))
    assert outcome.phase == "faulted", outcome
    assert outcome.problem["instance"].rpartition("/")[2] == name
    assert outcome.problem == data_of(docstring)


# What scenarios leave open: they pass also where another error is raised, or nothing is called.
TRAPS: dict[str, Callable[[Outcome, list[str]], bool]] = {
    "test_call_http_with_content_output": lambda outcome, calls: (
        calls == ["GET /v2/pet/findByStatus"] and outcome.output["status"] == "available"
    ),
    "test_call_http_using_basic_authentication": lambda outcome, calls: (
        outcome.output
        == {
            "authenticated": True,
            "user": "serverless-workflow",
        }
    ),
    "test_call_openapi_with_content_output": lambda outcome, calls: (
        calls[-1] == "GET /v2/pet/findByStatus" and outcome.output == 1
    ),
    "test_fork_task_with_competing_concurrent_sub_tasks": lambda outcome, calls: (
        outcome.output == {"colors": ["red"]}
    ),
    "test_try_raise_uncaught_error": lambda outcome, calls: outcome.problem["status"] == 404,
}

if FEATURES.is_dir():
    scenarios(str(FEATURES))
scenarios(str(Path(__file__).with_name("steps.feature")))


def test_own_list_of_traps_names_scenarios() -> None:
    assert TRAPS.keys() <= globals().keys()
