"""Every property of the language's calls, authentications, functions, extensions, events and
resources has a test that it holds, and one that it is refused or fails where it is wrong.

`clauses.tsv`: a row a property of `dsl-reference.md`, its section, and the two tests.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.specification import ROOT, SPECIFICATION, data_of, needs_specification

FOLDERS = (ROOT / "services" / "zigflow_worker" / "tests", ROOT / "tests" / "conformance")


class Clause(NamedTuple):
    """One property, and its tests as `module::test`."""

    section: str
    property: str
    positive: str
    negative: str


def clauses() -> list[Clause]:
    lines = Path(__file__).with_name("clauses.tsv").read_text(encoding="utf-8").splitlines()
    return [Clause(*line.split("\t")) for line in lines[1:]]


@cache
def defined_in(module: str) -> frozenset[str]:
    """Names of a module's tests."""
    for folder in FOLDERS:
        file = folder / f"{module}.py"
        if file.exists():
            tree = ast.parse(file.read_text(encoding="utf-8"))
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            names = {node.name for node in tree.body if isinstance(node, functions)}
            return frozenset(name for name in names if name.startswith("test_"))
    return frozenset()


@pytest.mark.parametrize("clause", clauses(), ids=lambda clause: ".".join(clause[:2]))
def test_a_clause_has_a_positive_and_a_negative_test(clause: Clause) -> None:
    for test in (clause.positive, clause.negative):
        module, _, name = test.partition("::")
        assert name in defined_in(module), f"there is no test {test}"


def test_a_property_is_listed_once() -> None:
    listed = [clause[:2] for clause in clauses()]
    assert len(set(listed)) == len(listed)


# --- The schema's properties are those of the table.


def definition(*path: str) -> Any:
    """A part of the specification's schema."""
    found = data_of((SPECIFICATION / "workflow-schema.yaml").read_text(encoding="utf-8"))
    for name in ("$defs", *path):
        found = found[name]
    return found


def call_arguments(title: str) -> Any:
    """The arguments of one kind of call."""
    for kind in definition("callTask", "oneOf"):
        if kind["title"] == title:
            return kind["allOf"][1]["properties"]["with"]
    raise AssertionError(title)


def properties(schema: Any, prefix: str = "") -> Iterator[str]:
    """Names of the properties of an object, those of inline objects with their path."""
    for name, part in schema["properties"].items():
        if "properties" in part:
            yield from properties(part, f"{prefix}{name}.")
        else:
            yield prefix + name


@needs_specification
@pytest.mark.parametrize(
    ("section", "schema"),
    [
        ("HTTP Call", lambda: call_arguments("CallHTTP")),
        ("OpenAPI Call", lambda: call_arguments("CallOpenAPI")),
        ("gRPC Call", lambda: call_arguments("CallGRPC")),
        ("Event Properties", lambda: definition("eventProperties")),
        ("Extension", lambda: definition("extension")),
        ("External Resource", lambda: definition("externalResource")),
    ],
)
def test_the_table_has_every_property_of_the_schema(section: str, schema: Any) -> None:
    listed = {clause.property for clause in clauses() if clause.section == section}
    assert listed == set(properties(schema()))
