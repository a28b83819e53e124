"""`stigma validate`: checks of workflow documents, and of files of workflows and agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stigma_cli import definition_files
from stigma_cli.agent_rules import violations_of_agents
from stigma_cli.definition_files import FileDefinition
from stigma_cli.document_warnings import (
    agents_called,
    agents_used,
    silent_steps,
    unknown_agents,
)
from stigma_cli.documents import problems_of
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import Format, Output, print_json, print_line, print_note
from stigma_cli.resource_files import AGENT, OPERATOR_KINDS, WORKFLOW, read_text, shown_name
from stigma_cli.violations import located
from stigma_cli.yaml_files import parse_documents

_WELL_FORMED = "is well formed (the API, which is not installed here, checks the rest)"

File = Annotated[Path, typer.Argument(metavar="FILE", help='The document, or "-" for stdin.')]


def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a workflow document, or a file of workflows or of agents.

    Needs no server. Exits 2 when something is wrong, with each mistake on a line. Agents that are
    not registered, where the API can be reached, and steps of scripts that never play are warnings.
    `stigma agent apply --dry-run` also checks what an agent names: task queues, MCP servers.
    """
    name, text = shown_name(file), read_text(file)
    documents = parse_documents(name, text)
    kinds = [str(each.get("kind")) for each in documents if isinstance(each, dict)]
    is_agent = bool(kinds) and kinds[0].lower() == AGENT.lower()
    if is_agent or set(kinds) & set(OPERATOR_KINDS):
        _validate_agents(name, text, output)
    else:
        _validate_workflows(name, text, documents, output)


def _validate_workflows(file: str, text: str, documents: list[Any], output: Format) -> None:
    checked = [(file, text)]
    kinds = [str(each.get("kind")) for each in documents if isinstance(each, dict)]
    if kinds and kinds[0].lower() == WORKFLOW.lower():
        # Lines are counted within each document: it is a text of its own.
        workflows = definition_files.workflows_of(file, text)
        checked = [(f"{file} ({each.name})", each.spec.document) for each in workflows]
    problems = [(place, problem) for place, each in checked for problem in problems_of(each)]
    named = [one for each in documents for one in agents_called(file, each)]
    warnings = asyncio.run(unknown_agents(named)) if named and not problems else []
    if output is Format.JSON:
        found = [asdict(problem) for _, problem in problems]
        print_json({"valid": not found, "problems": found} | _json_of(warnings))
    elif problems:
        for place, problem in problems:
            print_line(f"{place}:{problem}")
    else:
        print_line(f"{file} is valid")
    _print(warnings, output)
    if problems:
        raise typer.Exit(Exit.USAGE)


def _validate_agents(file: str, text: str, output: Format) -> None:
    agents = definition_files.agents_of(file, text)
    found = violations_of_agents(agents)
    given = [FileDefinition(each, file, text, index) for index, each in enumerate(agents)]
    problems = [
        located(violation, file, definition.document())
        for definition, violations in zip(given, found or [], strict=found is not None)
        for violation in violations
    ]
    if problems:
        raise CliError(problems[0], code=Exit.USAGE, more=problems[1:])
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
