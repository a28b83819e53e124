"""`stigma validate`: checks of workflow documents, and of files of workflows and agents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum, auto

import typer

from stigma_cli.definition_checks import check_agents, check_workflows
from stigma_cli.document_warnings import (
    NamedAgent,
    agents_called,
    agents_used,
    silent_steps,
    texts_with_expressions,
    unknown_agents,
)
from stigma_cli.documents import document_name, problems_of_each
from stigma_cli.envelope_kinds import envelope_kind
from stigma_cli.errors import Exit
from stigma_cli.options import Files, FilesOption, given_files
from stigma_cli.output import Format, Output, print_json, print_line, print_note
from stigma_cli.problems import MOST_PROBLEMS, Problems, bounded
from stigma_cli.resource_files import AGENT, OPERATOR_KINDS, WORKFLOW
from stigma_cli.yaml_files import YamlFile, parse_files

# A file without one is a document, whose mistakes the engine tells.
_ENVELOPE = re.compile(r"^kind:", re.MULTILINE | re.IGNORECASE)
_MOST_WARNINGS = 20
_WELL_FORMED = "is well formed (the API, which is not installed here, checks the rest)"


class _Content(Enum):
    """The kind of content that a file is taken for."""

    BROKEN = auto()
    AGENTS = auto()
    WORKFLOWS = auto()
    DOCUMENT = auto()


@dataclass
class _Report:
    """Findings of a file."""

    file: str
    problems: Problems = field(default_factory=lambda: Problems([]))
    valid: Sequence[str] = ()
    """Lines about a file without problems."""
    agents: Sequence[str] = ()
    """Names of its agents, where it has no problems."""
    given: set[str] = field(default_factory=set)
    """Names of its agents, whatever is wrong with it."""
    warnings: list[str] = field(default_factory=list)
    named: list[NamedAgent] = field(default_factory=list)
    """Agents that it uses, and that may not be registered."""


def validate(files: Files = None, file: FilesOption = None, output: Output = Format.TEXT) -> None:
    """Check workflow documents, and files of workflows or of agents.

    Of a directory, its files of YAML and JSON are checked. Needs no server. Exits 2 when something
    is wrong, with all mistakes of all files that can be told at once, each on a line. Agents that
    are not registered, where the API can be reached, and steps of scripts that never play are
    warnings. `stigma agent apply --dry-run` also checks what an agent names: task queues, MCP
    servers.
    """
    read = parse_files(given_files(files, file))
    content = {each.name: _content_of(each) for each in read}
    reports = {each.name: _Report(each.name) for each in read}
    for of, check in (
        (_Content.BROKEN, _check_broken),
        (_Content.AGENTS, _check_agents),
        (_Content.WORKFLOWS, _check_workflows),
        (_Content.DOCUMENT, _check_documents),
    ):
        found = [each for each in read if content[each.name] is of]
        if found:
            check(found, reports)
    _print_reports(list(reports.values()), output)


def _content_of(file: YamlFile) -> _Content:
    if file.error is not None and (not file.error.problem.line or _ENVELOPE.search(file.text)):
        return _Content.BROKEN
    kinds = [envelope_kind(each) for each in file.documents if isinstance(each, dict)]
    if kinds[:1] == [AGENT] or set(kinds) & set(OPERATOR_KINDS):
        return _Content.AGENTS
    return _Content.WORKFLOWS if kinds[:1] == [WORKFLOW] else _Content.DOCUMENT


_Reports = dict[str, _Report]


def _check_broken(files: Sequence[YamlFile], reports: _Reports) -> None:
    for file in files:
        if file.error is not None:
            reports[file.name].problems = Problems([file.error.problem])


def _check_agents(files: Sequence[YamlFile], reports: _Reports) -> None:
    checked = check_agents(files)
    for each in checked.definitions:
        reports[each.file].given.add(each.definition.name)
    for file in files:
        report = reports[file.name]
        report.problems = checked.problems_of(file.name)
        if report.problems.shown:
            continue
        agents = [each.definition for each in checked.definitions if each.file == file.name]
        report.agents = [each.name for each in agents]
        how = "is valid" if checked.by_rules else _WELL_FORMED
        report.valid = [f"{each.name} {how}" for each in agents]
        for agent in agents:
            silent = silent_steps(agent)
            report.warnings += [f"{file.name} ({agent.name}): {one}" for one in silent]
            report.named += agents_used(file.name, agent)


def _check_workflows(files: Sequence[YamlFile], reports: _Reports) -> None:
    checked = check_workflows(files)
    for file in files:
        _report_documents(reports[file.name], file, checked.problems_of(file.name))


def _check_documents(files: Sequence[YamlFile], reports: _Reports) -> None:
    """Check files that are documents as they are, for which `stigma run` needs no registry."""
    for file, problems in zip(files, problems_of_each([each.text for each in files]), strict=True):
        _report_documents(reports[file.name], file, problems)
    valid = [file for file in files if not reports[file.name].problems.shown]
    # All else of names is the engine's rule, too.
    suspect = [file for file in valid if document_name(file) != document_name(file).lower()]
    if not suspect:
        return
    refused = check_workflows(suspect, share_names=True)
    for file in suspect:
        lines = [each.in_file(file.name) for each in refused.problems_of(file.name).shown]
        warnings = [f"`stigma workflow apply` refuses {each}" for each in lines]
        reports[file.name].warnings[:0] = warnings


def _report_documents(report: _Report, file: YamlFile, problems: Problems) -> None:
    report.problems = problems
    report.valid = [f"{file.name} is valid"]
    for document in file.documents:
        report.warnings += texts_with_expressions(file.name, document)
        report.named += agents_called(file.name, document)
    del report.warnings[_MOST_WARNINGS:]


def _print_reports(reports: Sequence[_Report], output: Format) -> None:
    """Print what is wrong with files, and end the command if something is.

    Raises:
        typer.Exit: there are problems.
    """
    given = set().union(*(report.given for report in reports))
    named = [
        each
        for report in reports
        for each in report.named
        if each.name.partition("@")[0] not in given
    ]
    warnings = [each for report in reports for each in report.warnings]
    warnings += asyncio.run(unknown_agents(named)) if named else []
    is_valid = not any(each.problems.shown for each in reports)
    if output is Format.JSON:
        _print_json(reports, warnings)
    else:
        _print_text(reports)
        for warning in warnings:
            print_note(f"warning: {warning}")
    if not is_valid:
        raise typer.Exit(Exit.USAGE)


def _print_text(reports: Iterable[_Report]) -> None:
    wrong = [each for each in reports if each.problems.shown]
    lines = [one.in_file(each.file) for each in wrong for one in each.problems.shown]
    for line in bounded(lines, sum(each.problems.more for each in wrong)):
        print_line(line)
    for report in reports:
        for line in () if report.problems.shown else report.valid:
            print_line(line)


def _print_json(reports: Sequence[_Report], warnings: Sequence[str]) -> None:
    found = [{"file": each.file} | asdict(one) for each in reports for one in each.problems.shown]
    hidden = sum(each.problems.more for each in reports) + len(found[MOST_PROBLEMS:])
    agents = [name for each in reports for name in each.agents]
    print_json(
        {
            "valid": not found,
            "files": [{"file": each.file, "valid": not each.problems.shown} for each in reports],
            "problems": found[:MOST_PROBLEMS],
        }
        | ({"more": hidden} if hidden else {})
        | ({"agents": agents} if agents else {})
        | ({"warnings": list(warnings)} if warnings else {})
    )
