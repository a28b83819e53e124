"""Checks of files of definitions: all that is wrong with them, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_cli.definition_files import (
    FileDefinition,
    agents_and_mistakes,
    is_document,
    workflows_and_mistakes,
)
from stigma_cli.definition_rules import violations_of
from stigma_cli.document_places import enveloped_documents
from stigma_cli.documents import can_check, problems_of
from stigma_cli.errors import CliError, Exit
from stigma_cli.problems import Problem, Problems, bounded
from stigma_cli.resource_files import D, texts
from stigma_cli.violations import located
from stigma_cli.yaml_files import FileError, parse_documents

File = tuple[str, str]
"""Its name in messages, and its text."""

# Each check is a process, for a second.
_CHECKS_AT_ONCE = 2
_DOCUMENT_FIELD = "workflow.spec.document"


@dataclass
class Checked(Generic[D]):
    """Definitions of files, as far as they can be read, and what is wrong with the files."""

    definitions: list[FileDefinition[D]]
    problems: dict[str, list[Problem]]
    """By file."""
    more: int = 0
    """Problems that are not listed."""
    by_rules: bool = False
    """True: the API's rules were applied."""

    def add(self, file: str, problems: Iterable[Problem]) -> None:
        """Add problems of a file."""
        self.problems.setdefault(file, []).extend(problems)

    def problems_of(self, file: str) -> Problems:
        """Return the problems of a file in the order of their places."""
        return Problems(sorted(self.problems.get(file, ()), key=lambda each: each.place), self.more)

    def raise_if_any(self) -> None:
        """Raise what is wrong with all files, a line each.

        Raises:
            CliError: something is.
        """
        lines = [
            each.in_file(file) for file in self.problems for each in self.problems_of(file).shown
        ]
        if lines:
            first, *others = bounded(list(dict.fromkeys(lines)), self.more)  # a file given twice
            raise CliError(first, code=Exit.USAGE, more=others)


def check_agents(files: Sequence[File], *, trust_one: bool = False) -> Checked[Agent]:
    """Check agents by the rules of files, and by those of the API where it is installed.

    Args:
        files: of agents.
        trust_one: leave the API's rules to the API where there is one agent alone.
    """
    checked = _read(files, agents_and_mistakes)
    if not (trust_one and len(checked.definitions) == 1):
        _apply_rules(Kind.AGENT, checked)
    return checked


def check_workflows(files: Sequence[File], *, needs_engine: bool = True) -> Checked[Workflow]:
    """Check workflows as `check_agents` does agents, and their documents by the engine.

    Args:
        files: of workflows in their envelopes, or of one document.
        needs_engine: False: without an engine here, documents are not checked.

    Raises:
        CliError: the engine is needed, and not installed here.
    """
    own = {name: _is_alone(name, text) for name, text in files}
    has_engine = needs_engine or can_check()
    alone = [file for file in files if own[file[0]] and has_engine]
    checked = _read([file for file in files if file not in alone], workflows_and_mistakes)
    told: set[tuple[str, int]] = set()
    if has_engine:
        told = _check_enveloped([file for file in files if not own[file[0]]], checked)
        _check_alone(alone, checked)
    _apply_rules(Kind.WORKFLOW, checked, told)
    order = {name: at for at, (name, _) in enumerate(files)}
    checked.definitions.sort(key=lambda each: (order[each.file], each.index))
    checked.problems = {name: checked.problems.get(name, []) for name in order}
    return checked


def agents_to_apply(paths: Iterable[Path]) -> list[FileDefinition[Agent]]:
    """Read agents that are to be registered.

    Raises:
        CliError: a file is absent, or there is none; any is wrong: with all that is.
    """
    return _good(check_agents(list(texts(paths)), trust_one=True), "agent")


def workflows_to_apply(paths: Iterable[Path]) -> list[FileDefinition[Workflow]]:
    """Read workflows as `agents_to_apply` does agents."""
    return _good(check_workflows(list(texts(paths)), needs_engine=False), "workflow")


def _good(checked: Checked[D], noun: str) -> list[FileDefinition[D]]:
    checked.raise_if_any()
    if not checked.definitions:
        raise CliError(f"there is no {noun} in these files", code=Exit.USAGE)
    return checked.definitions


def _read(
    files: Iterable[File],
    read: Callable[[str, str], tuple[list[D | None], list[Problem]]],
) -> Checked[D]:
    checked: Checked[D] = Checked([], {})
    for name, text in files:
        try:
            found, mistakes = read(name, text)
        except FileError as error:
            found, mistakes = [], [error.problem]
        checked.add(name, mistakes)
        checked.definitions += _given(name, text, found)
    return checked


def _given(file: str, text: str, found: Iterable[D | None]) -> Iterator[FileDefinition[D]]:
    for index, each in enumerate(found):
        if each is not None:
            yield FileDefinition(each, file, text, index)


def _is_alone(file: str, text: str) -> bool:
    """Return whether a file is a workflow document as it is."""
    try:
        documents = parse_documents(file, text)
    except FileError:
        return False
    return len(documents) == 1 and is_document(documents[0])


def _check_alone(files: Sequence[File], checked: Checked[Workflow]) -> None:
    """Have the engine check documents; what is valid has a name, and is a definition."""
    with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
        all_found = list(pool.map(problems_of, [text for _, text in files]))
    for (name, text), found in zip(files, all_found, strict=True):
        checked.add(name, found.shown)
        checked.more += found.more
        if not found.shown:
            checked.definitions += _given(name, text, workflows_and_mistakes(name, text)[0])


def _check_enveloped(files: Sequence[File], checked: Checked[Workflow]) -> set[tuple[str, int]]:
    """Have the engine check documents; return the files and indexes of those that it refuses."""
    enveloped = [
        (name, each)
        for name, text in files
        for each in enveloped_documents(text, _parsed(name, text))
    ]
    with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
        all_found = list(pool.map(problems_of, [each.text for _, each in enveloped]))
    for (name, each), found in zip(enveloped, all_found, strict=True):
        checked.add(name, map(each.place, found.shown))
        checked.more += found.more
    return {
        (name, each.index)
        for (name, each), found in zip(enveloped, all_found, strict=True)
        if found.shown
    }


def _parsed(file: str, text: str) -> list[Any]:
    try:
        return parse_documents(file, text)
    except FileError:  # which the reader tells
        return []


def _apply_rules(
    kind: Kind, checked: Checked[D], told: Container[tuple[str, int]] = frozenset()
) -> None:
    """Add what the API's rules refuse, but of the documents that the engine refuses (`told`)."""
    given = checked.definitions
    refused = violations_of(kind, [each.definition for each in given])
    checked.by_rules = refused is not None
    for each, violations in zip(given, refused or (), strict=refused is not None):
        document = each.document() if violations else None
        for violation in violations:
            if violation.field != _DOCUMENT_FIELD or (each.file, each.index) not in told:
                checked.add(each.file, [located(violation, document)])
