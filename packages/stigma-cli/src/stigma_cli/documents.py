"""Workflow documents before they run: their names, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stigma_cli.errors import CliError, Exit
from stigma_cli.problems import Problem, Problems
from stigma_cli.resource_files import KINDS, OPERATOR_KINDS, READ_BY_AI_WORKER
from stigma_cli.service_checks import is_installed, run_check
from stigma_cli.yaml_files import YamlFile

_ENGINE = "zigflow_worker"
_CHECKS_AT_ONCE = 2
_PORTION_LENGTH = 500_000
"""Characters of documents that are checked in some ten seconds."""


def document_name(file: YamlFile) -> str:
    """Return a document's name, which is its workflow type.

    Raises:
        CliError: it is not YAML, or has no name.
    """
    documents = file.parsed()
    document = documents[0] if len(documents) == 1 else None
    head = document.get("document") if isinstance(document, dict) else None
    name = head.get("name") if isinstance(head, dict) else None
    if not isinstance(name, str) or not name:
        kind = document.get("kind") if isinstance(document, dict) else None
        hints = {each: f"`stigma {each.lower()} apply` registers it" for each in KINDS}
        hints |= dict.fromkeys(OPERATOR_KINDS, READ_BY_AI_WORKER)
        raise CliError(
            f"{file.name}: is not a workflow document: document.name is missing",
            f"kind is {kind}: {hints[kind]}" if kind in hints else "",
            code=Exit.USAGE,
        )
    return name


def can_check() -> bool:
    """Return whether the engine, which alone knows what is valid, is installed here."""
    return is_installed(_ENGINE)


def problems_of(text: str) -> Problems:
    """Have the engine check a document as `problems_of_each` does several."""
    [problems] = problems_of_each([text])
    return problems


def problems_of_each(documents: Sequence[str]) -> list[Problems]:
    """Have the engine check documents; takes a second, for the engine is a process of its own.

    All problems are told that can be known at once, up to what the engine lists of each.

    Raises:
        CliError: the engine is not installed here, or cannot check anything.
    """
    if not documents:
        return []
    if not can_check():
        raise CliError(
            f"workflow documents are checked by {_ENGINE}, which is not installed here",
            "install stigma-zigflow-worker",
        )
    with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
        found = pool.map(_check, _portions(documents))
        return [problems for portion in found for problems in portion]


def _check(documents: Sequence[str]) -> list[Problems]:
    return run_check(
        *(_ENGINE, "validate", "-", "--list"),
        text=json.dumps(documents),
        what="the documents" if len(documents) > 1 else "the document",
        read=lambda reports: [_problems(each) for each in reports],
    )


def _problems(report: Any) -> Problems:
    return Problems([Problem(**each) for each in report["problems"]], report.get("more", 0))


def _portions(documents: Sequence[str]) -> Iterator[list[str]]:
    """Yield documents as they are to be checked by one process, which has a minute for them."""
    portion: list[str] = []
    size = 0
    for each in documents:
        if portion and size + len(each) > _PORTION_LENGTH:
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += len(each)
    yield portion
