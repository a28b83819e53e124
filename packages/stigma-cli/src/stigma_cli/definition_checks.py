"""Checks of files of definitions: all that is wrong with them, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_cli.definition_files import (
    FileDefinition,
    agents_and_mistakes,
    workflows_and_mistakes,
)
from stigma_cli.definition_rules import violations_of
from stigma_cli.document_places import enveloped_documents
from stigma_cli.documents import can_check, problems_of_each
from stigma_cli.errors import CliError, Exit
from stigma_cli.problems import Problem, Problems, bounded
from stigma_cli.resource_files import D
from stigma_cli.rule_expressions import broken_expressions
from stigma_cli.violations import DOCUMENT_FIELD, Violation, follows_from, is_document, located
from stigma_cli.yaml_files import FileError, YamlFile, parse_files


@dataclass
class Checked(Generic[D]):
    """Definitions of files, as far as they can be read, and what is wrong with the files."""

    definitions: list[FileDefinition[D]]
    problems: dict[str, list[Problem]]
    """By file."""
    more: dict[str, int] = field(default_factory=dict)
    """Problems that are not listed, by file."""
    by_rules: bool = False
    """True: the API's rules were applied."""

    def add(self, file: str, problems: Iterable[Problem]) -> None:
        """Add problems of a file."""
        self.problems.setdefault(file, []).extend(problems)

    def add_found(self, file: str, found: Problems) -> None:
        """Add what the engine tells of a document of a file."""
        self.add(file, found.shown)
        self.more[file] = self.more.get(file, 0) + found.more

    def problems_of(self, file: str) -> Problems:
        """Return the problems of a file in the order of their places."""
        problems = sorted(self.problems.get(file, ()), key=lambda each: each.place)
        return Problems(problems, self.more.get(file, 0))

    def raise_if_any(self) -> None:
        """Raise what is wrong with all files, a line each.

        Raises:
            CliError: something is.
        """
        lines = [
            each.in_file(file) for file in self.problems for each in self.problems_of(file).shown
        ]
        if lines:
            first, *others = bounded(lines, sum(self.more.values()))
            raise CliError(first, code=Exit.USAGE, more=others)


def check_agents(files: Sequence[YamlFile], *, trust_one: bool = False) -> Checked[Agent]:
    """Check agents by the rules of files, and by those of the API and of the engine, if installed.

    Args:
        files: of agents.
        trust_one: leave the API's rules to the API where there is one agent alone.
    """
    checked = _read(files, agents_and_mistakes)
    is_one = len(checked.definitions) == 1 and not any(checked.problems.values())
    if not (trust_one and is_one):
        _apply_rules(Kind.AGENT, checked)
        for index, violation in broken_expressions(
            [each.definition for each in checked.definitions]
        ):
            _add_violation(checked, checked.definitions[index], violation)
    _refuse_repeated_names(Kind.AGENT, checked)
    return checked


def check_workflows(
    files: Sequence[YamlFile], *, needs_engine: bool = True, share_names: bool = False
) -> Checked[Workflow]:
    """Check workflows as `check_agents` does agents, and their documents by the engine.

    Args:
        files: of workflows in their envelopes, or of one document.
        needs_engine: False: without an engine here, documents are not checked.
        share_names: they are not to be registered, and may be of the same name.

    Raises:
        CliError: the engine is needed, and not installed here.
    """
    if not needs_engine and not can_check():
        checked = _read(files, workflows_and_mistakes)
        told: set[tuple[str, int]] = set()
    else:
        alone = [file for file in files if _is_alone(file)]
        enveloped = [file for file in files if not _is_alone(file)]
        checked = _read(enveloped, workflows_and_mistakes)
        told = _check_enveloped(enveloped, checked)
        _check_alone(alone, checked)
    _apply_rules(Kind.WORKFLOW, checked, told)
    order = {file.name: at for at, file in enumerate(files)}
    checked.definitions.sort(key=lambda each: (order[each.file], each.index))
    checked.problems = {name: checked.problems.get(name, []) for name in order}
    if not share_names:
        _refuse_repeated_names(Kind.WORKFLOW, checked)
    return checked


def agents_to_apply(paths: Iterable[Path]) -> list[FileDefinition[Agent]]:
    """Read agents that are to be registered.

    Raises:
        CliError: a file is absent, or there is none; any is wrong: with all that is.
    """
    return _good(check_agents(parse_files(paths), trust_one=True), "agent")


def workflows_to_apply(paths: Iterable[Path]) -> list[FileDefinition[Workflow]]:
    """Read workflows as `agents_to_apply` does agents."""
    return _good(check_workflows(parse_files(paths), needs_engine=False), "workflow")


def _good(checked: Checked[D], noun: str) -> list[FileDefinition[D]]:
    checked.raise_if_any()
    if not checked.definitions:
        raise CliError(f"there is no {noun} in these files", code=Exit.USAGE)
    return checked.definitions


def _read(
    files: Iterable[YamlFile],
    read: Callable[[YamlFile], tuple[list[FileDefinition[D]], list[Problem]]],
) -> Checked[D]:
    checked: Checked[D] = Checked([], {})
    for file in files:
        try:
            found, mistakes = read(file)
        except FileError as error:
            found, mistakes = [], [error.problem]
        checked.add(file.name, mistakes)
        checked.definitions += found
    return checked


def _is_alone(file: YamlFile) -> bool:
    """Return whether a file is a workflow document as it is."""
    return len(file.documents) == 1 and is_document(file.documents[0])


def _check_alone(files: Sequence[YamlFile], checked: Checked[Workflow]) -> None:
    """Have the engine check documents; what is valid has a name, and is a definition."""
    problems = problems_of_each([file.text for file in files])
    for file, found in zip(files, problems, strict=True):
        checked.add_found(file.name, found)
        if not found.shown:
            checked.definitions += workflows_and_mistakes(file)[0]


def _check_enveloped(files: Sequence[YamlFile], checked: Checked[Workflow]) -> set[tuple[str, int]]:
    """Have the engine check documents; return the files and indexes of those that it refuses."""
    documents = [(file.name, each) for file in files for each in enveloped_documents(file)]
    refused = set()
    problems = problems_of_each([each.text for _, each in documents])
    for (name, document), found in zip(documents, problems, strict=True):
        placed = list(map(document.place, found.shown))
        checked.add_found(name, Problems(placed, found.more))
        if found.shown:
            refused.add((name, document.index))
    return refused


def _apply_rules(
    kind: Kind, checked: Checked[D], told: Container[tuple[str, int]] = frozenset()
) -> None:
    """Add what the API's rules refuse, but of the documents that the engine refuses (`told`)."""
    given = checked.definitions
    refused = violations_of(kind, [each.definition for each in given])
    checked.by_rules = refused is not None
    for each, violations in zip(given, refused or (), strict=refused is not None):
        for violation in violations:
            if violation.field != DOCUMENT_FIELD or (each.file, each.index) not in told:
                _add_violation(checked, each, violation)


def _add_violation(checked: Checked[D], of: FileDefinition[D], violation: Violation) -> None:
    problem = located(violation, of.document())
    if not follows_from(problem, of.mistakes):
        checked.add(of.file, [problem])


def _refuse_repeated_names(kind: Kind, checked: Checked[D]) -> None:
    """Add a problem for each definition whose name one before it has: both would be versions."""
    first: dict[str, FileDefinition[D]] = {}
    for each in checked.definitions:
        name = each.definition.name
        other = first.setdefault(name, each)
        if name and other is not each:
            place = other.file
            if other.file == each.file:
                place = f"line {_name_problem(kind, other).line} of this file"
            checked.add(each.file, [_name_problem(kind, each, f"{kind} {name} is also in {place}")])


def _name_problem(kind: Kind, of: FileDefinition[D], message: str = "") -> Problem:
    return located(Violation(f"{kind}.name", message), of.document())
