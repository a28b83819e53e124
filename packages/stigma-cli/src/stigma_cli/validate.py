"""`stigma validate`: checks of workflow documents, and of files of workflows and agents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from stigma.agent.v1.agent_pb2 import Agent
from stigma_cli.definition_checks import check_agents, check_workflows
from stigma_cli.document_warnings import (
    NamedAgent,
    agents_called,
    agents_used,
    silent_steps,
    texts_with_expressions,
    unknown_agents,
)
from stigma_cli.documents import document_name, problems_of
from stigma_cli.envelope_kinds import envelope_kind
from stigma_cli.errors import Exit
from stigma_cli.file_texts import read_text, shown_name
from stigma_cli.output import Format, Output, print_json, print_line, print_note
from stigma_cli.problems import MOST_PROBLEMS, Problems, bounded
from stigma_cli.resource_files import AGENT, OPERATOR_KINDS, WORKFLOW
from stigma_cli.yaml_files import YamlFile, parse_file

# A file without one is a document, whose mistakes the engine tells.
_ENVELOPE = re.compile(r"^kind:", re.MULTILINE | re.IGNORECASE)
_MOST_WARNINGS = 20
_WELL_FORMED = "is well formed (the API, which is not installed here, checks the rest)"

File = Annotated[Path, typer.Argument(metavar="FILE", help='The document, or "-" for stdin.')]


def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a workflow document, or a file of workflows or of agents.

    Needs no server. Exits 2 when something is wrong, with all mistakes that can be told at once,
    each on a line. Agents that are not registered, where the API can be reached, and steps of
    scripts that never play are warnings. `stigma agent apply --dry-run` also checks what an agent
    names: task queues, MCP servers.
    """
    read = parse_file(shown_name(file), read_text(file))
    if read.error is not None and (not read.error.problem.line or _ENVELOPE.search(read.text)):
        _report(read.name, Problems([read.error.problem]), [], output)
        return
    kinds = [envelope_kind(each) for each in read.documents if isinstance(each, dict)]
    if kinds[:1] == [AGENT] or set(kinds) & set(OPERATOR_KINDS):
        _validate_agents(read, output)
        return
    if kinds[:1] == [WORKFLOW]:
        problems = check_workflows([read]).problems_of(read.name)
    else:
        problems = problems_of(read.text)
    called = [one for each in read.documents for one in agents_called(read.name, each)]
    warnings = [] if problems.shown or kinds != [""] else _registry_warnings(read)
    silent = [one for each in read.documents for one in texts_with_expressions(read.name, each)]
    warnings += silent[:_MOST_WARNINGS]
    _report(read.name, problems, [*warnings, *_warnings(called)], output)


def _registry_warnings(file: YamlFile) -> list[str]:
    """Return what the registry refuses of a document that `stigma run` takes: its name."""
    name = document_name(file)
    if name == name.lower():  # all else of names is the engine's rule, too
        return []
    refused = check_workflows([file]).problems_of(file.name).shown
    return [f"`stigma workflow apply` refuses {each.in_file(file.name)}" for each in refused]


def _validate_agents(file: YamlFile, output: Format) -> None:
    checked = check_agents([file])
    agents = [each.definition for each in checked.definitions]
    problems = checked.problems_of(file.name)
    warnings = [] if problems.shown else _warnings_of(file.name, agents)
    if problems.shown or output is Format.JSON:
        names = {} if problems.shown else {"agents": [each.name for each in agents]}
        _report(file.name, problems, warnings, output, names)
        return
    for agent in agents:
        print_line(f"{agent.name} {'is valid' if checked.by_rules else _WELL_FORMED}")
    _print(warnings)


def _warnings_of(file: str, agents: Sequence[Agent]) -> list[str]:
    own = {each.name for each in agents}
    silent = [f"{file} ({each.name}): {one}" for each in agents for one in silent_steps(each)]
    used = [one for each in agents for one in agents_used(file, each)]
    return silent + _warnings([each for each in used if each.name.partition("@")[0] not in own])


def _warnings(named: Sequence[NamedAgent]) -> list[str]:
    return asyncio.run(unknown_agents(named)) if named else []


def _report(
    file: str,
    problems: Problems,
    warnings: Sequence[str],
    output: Format,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Print what is wrong with a file, and end the command if something is.

    Args:
        file: its name.
        problems: of it.
        warnings: about it.
        output: lines for people, or JSON.
        more: what the JSON has besides.

    Raises:
        typer.Exit: there are problems.
    """
    if output is Format.JSON:
        found = [asdict(problem) for problem in problems.shown[:MOST_PROBLEMS]]
        hidden = problems.more + len(problems.shown[MOST_PROBLEMS:])
        rest = ({"more": hidden} if hidden else {}) | dict(more)
        told = {"warnings": list(warnings)} if warnings else {}
        print_json({"valid": not found, "problems": found} | rest | told)
    else:
        lines = [each.in_file(file) for each in problems.shown]
        for line in bounded(lines, problems.more) or [f"{file} is valid"]:
            print_line(line)
        _print(warnings)
    if problems.shown:
        raise typer.Exit(Exit.USAGE)


def _print(warnings: Sequence[str]) -> None:
    for each in warnings:
        print_note(f"warning: {each}")
