"""Scenarios of the specification's conformance kit whose task kinds this release has."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.loading import load_document
from zigflow_worker.programs import compile_text
from zigflow_worker.tasks.registry import TASK_KINDS

ROOT = Path(__file__).resolve().parents[3]
SPEC = Path(os.environ.get("STIGMA_SPEC_DIR", ROOT.parent / "shared" / "spec"))
LATER = re.compile(r"^\s*(call: (?!agent)|listen:|run:)", re.MULTILINE)
LATER_SECTIONS = ("schedule:", "extensions:", "functions:", "secrets:", "authentications:")


@dataclass
class Scenario:
    """One scenario: steps in order, each with its block of text."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def document(self) -> str:
        return self.steps[0][1]


def scenarios() -> Iterator[Any]:
    for file in sorted((SPEC / "ctk").glob("*.feature")):
        for part in file.read_text().split("Scenario:")[1:]:
            scenario = parse(part)
            if not LATER.search(scenario.document) and "emit:" not in scenario.document:
                yield pytest.param(scenario, id=scenario.name)


def parse(part: str) -> Scenario:
    name, _, rest = part.partition("\n")
    scenario = Scenario(name.strip())
    pieces = re.split(r'^[ \t]*"""(?:yaml)?[ \t]*$', rest, flags=re.MULTILINE)
    for index, piece in enumerate(pieces):
        if index % 2:
            text, _ = scenario.steps[-1]
            scenario.steps[-1] = (text, textwrap.dedent(piece))
        else:
            for line in piece.splitlines():
                if line.strip() and not line.strip().startswith("#"):
                    text = re.sub(r"^(Given|When|Then|And)( given)? ", "", line.strip())
                    scenario.steps.append((text, ""))
    return scenario


def data_of(text: str) -> Any:
    return load_document(text).data


@pytest.mark.skipif(not SPEC.is_dir(), reason=f"no specification in {SPEC}: set STIGMA_SPEC_DIR")
@pytest.mark.parametrize("scenario", list(scenarios()))
async def test_conformance_kit(engine: Any, scenario: Scenario) -> None:
    given = {text: block for text, block in scenario.steps if block and "workflow input" in text}
    data = data_of(next(iter(given.values()))) if given else None
    document: Any = data_of(scenario.document)
    handle = await engine.start(scenario.document, data, name=document["document"]["name"])
    output, problem = await outcome_of(handle)
    trace = [entry["name"] for entry in await handle.query("trace")]
    checked = [check(text, block, output, problem, trace) for text, block in scenario.steps]
    assert any(checked), "no step of the scenario says what is expected"


async def outcome_of(handle: WorkflowHandle[Any, Any]) -> tuple[Any, Any]:
    """Output, or else error, of a run."""
    try:
        return await handle.result(), None
    except WorkflowFailureError as error:
        cause = error.cause
    assert isinstance(cause, ApplicationError)
    return None, cause.details[0]


def check(text: str, block: str, output: Any, problem: Any, trace: list[str]) -> bool:
    """Check one step; False when it expects nothing."""
    match re.split(r"'", text):
        case [step] if "should complete" in step:
            assert problem is None
            assert not block or output == data_of(block)
        case [step] if "should fault" in step:
            assert problem is not None
            assert not block or problem == data_of(block)
        case [_, name, middle] if items := re.search(r"containing (\d+) items", middle):
            assert len(output[name]) == int(items[1])
        case [step] if order := re.fullmatch(r"(\w+) should run (first|last)", step):
            assert trace[0 if order[2] == "first" else -1] == order[1]
        case [step] if order := re.fullmatch(r"(\w+) should run after (\w+)", step):
            assert trace.index(order[1]) > trace.index(order[2])
        case _:
            assert "should" not in text, f"unknown step: {text}"
            return False
    return True


def examples() -> Iterator[Any]:
    for file in sorted((SPEC / "examples").glob("*.yaml")):
        yield pytest.param(file, id=file.stem)


@pytest.mark.skipif(not SPEC.is_dir(), reason=f"no specification in {SPEC}: set STIGMA_SPEC_DIR")
@pytest.mark.parametrize("file", list(examples()))
def test_examples_compile_or_name_what_is_missing(file: Path) -> None:
    text = file.read_text()
    if not LATER.search(text) and not any(section in text for section in LATER_SECTIONS):
        compile_text(text, TASK_KINDS)
        return
    with pytest.raises(InvalidDocumentError) as invalid:
        compile_text(text, TASK_KINDS)
    assert all("not supported in this release" in p.message for p in invalid.value.problems)
