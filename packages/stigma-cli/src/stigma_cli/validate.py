"""`stigma validate`: checks of workflow documents, and of files of workflows and agents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from stigma_cli import definition_files
from stigma_cli.agent_rules import violations_of_agents
from stigma_cli.definition_files import FileDefinition
from stigma_cli.document_places import enveloped_documents
from stigma_cli.document_warnings import (
    agents_called,
    agents_used,
    silent_steps,
    unknown_agents,
)
from stigma_cli.documents import MOST_PROBLEMS, Problem, Problems, bounded, problems_of
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import Format, Output, print_json, print_line, print_note
from stigma_cli.resource_files import AGENT, OPERATOR_KINDS, WORKFLOW, read_text, shown_name
from stigma_cli.violations import located
from stigma_cli.yaml_files import FileError, parse_documents

_ENVELOPE = re.compile(r"^kind:", re.MULTILINE)
_PLACE = re.compile(r":(\d+)(?::(\d+))?:")
_WELL_FORMED = "is well formed (the API, which is not installed here, checks the rest)"

File = Annotated[Path, typer.Argument(metavar="FILE", help='The document, or "-" for stdin.')]


def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a workflow document, or a file of workflows or of agents.

    Needs no server. Exits 2 when something is wrong, with all mistakes that can be told at once,
    each on a line. Agents that are not registered, where the API can be reached, and steps of
    scripts that never play are warnings. `stigma agent apply --dry-run` also checks what an agent
    names: task queues, MCP servers.
    """
    name, text = shown_name(file), read_text(file)
    documents = _documents_of(name, text)
    kinds = [str(each.get("kind")) for each in documents if isinstance(each, dict)]
    is_agent = bool(kinds) and kinds[0].lower() == AGENT.lower()
    if is_agent or set(kinds) & set(OPERATOR_KINDS):
        _validate_agents(name, text, output)
    elif kinds and kinds[0].lower() == WORKFLOW.lower():
        _validate_workflows(name, text, documents, output)
    else:
        problems = problems_of(text)
        lines = [f"{name}:{problem}" for problem in problems.shown]
        _report(name, documents, problems, lines, output)


def _documents_of(file: str, text: str) -> list[Any]:
    """Return what a file has; nothing where it is a document whose mistakes the engine tells."""
    try:
        return parse_documents(file, text)
    except FileError as error:
        if error.line is None or _ENVELOPE.search(text):
            raise
        return []


def _validate_workflows(file: str, text: str, documents: list[Any], output: Format) -> None:
    try:
        definition_files.workflows_of(file, text)
        mistakes = []
    except CliError as error:
        mistakes = [error.message, *error.more]
    shown: list[Problem] = []
    more, lines = 0, []
    for each in enveloped_documents(text, documents):
        problems = problems_of(each.text)
        more += problems.more
        for problem in problems.shown:
            placed = each.place(problem)
            shown.append(placed or problem)
            lines.append(f"{file}:{placed}" if placed else f"{file} ({each.name}):{problem}")
    if mistakes:
        first, *others = bounded(sorted([*mistakes, *lines], key=partial(_place, file)), more)
        raise CliError(first, code=Exit.USAGE, more=others)
    _report(file, documents, Problems(shown, more), lines, output)


def _report(
    file: str, documents: list[Any], problems: Problems, lines: list[str], output: Format
) -> None:
    named = [one for each in documents for one in agents_called(file, each)]
    warnings = asyncio.run(unknown_agents(named)) if named else []
    if output is Format.JSON:
        found = [asdict(problem) for problem in problems.shown[:MOST_PROBLEMS]]
        hidden = problems.more + len(problems.shown[MOST_PROBLEMS:])
        more = {"more": hidden} if hidden else {}
        print_json({"valid": not found, "problems": found} | more | _json_of(warnings))
    else:
        for line in bounded(lines, problems.more) or [f"{file} is valid"]:
            print_line(line)
    _print(warnings, output)
    if problems.shown:
        raise typer.Exit(Exit.USAGE)


def _place(file: str, line: str) -> tuple[int, ...]:
    """Return line and column of a message, for sorting."""
    place = _PLACE.match(line.removeprefix(file))
    return tuple(int(each) for each in place.groups(default="0")) if place else (0, 0)


def _validate_agents(file: str, text: str, output: Format) -> None:
    read, problems = definition_files.agents_and_mistakes(file, text)
    given = [
        FileDefinition(each, file, text, at) for at, each in enumerate(read) if each is not None
    ]
    agents = [each.definition for each in given]
    found = violations_of_agents(agents)
    problems += [
        located(violation, file, definition.document())
        for definition, violations in zip(given, found or [], strict=found is not None)
        for violation in violations
    ]
    if problems:
        first, *others = bounded(sorted(problems, key=partial(_place, file)))
        raise CliError(first, code=Exit.USAGE, more=others)
    own = {each.name for each in agents}
    warnings = [f"{file} ({each.name}): {one}" for each in agents for one in silent_steps(each)]
    used = [one for each in agents for one in agents_used(file, each)]
    elsewhere = [each for each in used if each.name.partition("@")[0] not in own]
    warnings += asyncio.run(unknown_agents(elsewhere)) if elsewhere else []
    if output is Format.JSON:
        print_json({"valid": True, "agents": [agent.name for agent in agents]} | _json_of(warnings))
    else:
        for agent in agents:
            print_line(f"{agent.name} {_WELL_FORMED if found is None else 'is valid'}")
    _print(warnings, output)


def _json_of(warnings: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(warnings)} if warnings else {}


def _print(warnings: Sequence[str], output: Format) -> None:
    for each in warnings if output is Format.TEXT else ():
        print_note(f"warning: {each}")
