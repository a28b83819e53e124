"""Workflow documents before they run: their names, and what is wrong with them."""

from __future__ import annotations

from stigma_cli.errors import CliError, Exit
from stigma_cli.problems import Problem, Problems
from stigma_cli.resource_files import KINDS, OPERATOR_KINDS, READ_BY_AI_WORKER
from stigma_cli.service_checks import is_installed, run_check
from stigma_cli.yaml_files import YamlFile

_ENGINE = "zigflow_worker"


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
    """Have the engine check a document; takes a second, for the engine is a process of its own.

    All problems are told that can be known at once, up to what the engine lists.

    Raises:
        CliError: the engine is not installed here, or cannot check anything.
    """
    if not can_check():
        raise CliError(
            f"workflow documents are checked by {_ENGINE}, which is not installed here",
            "install stigma-zigflow-worker",
        )
    return run_check(
        *(_ENGINE, "validate", "-", "--output", "json"),
        text=text,
        what="the document",
        read=lambda found: Problems(
            [Problem(**problem) for problem in found["problems"]], found.get("more", 0)
        ),
    )
