"""Workflows as files: in Stigma's envelope, or a workflow document as it is."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma_cli.documents import document_name
from stigma_cli.exits import CliError, Exit
from stigma_cli.resource_files import EnvelopeReader, FileError, parse_documents, texts

KIND = "Workflow"


def read_workflows(paths: Iterable[Path]) -> list[tuple[str, Workflow]]:
    """Read the workflows of files, of the files in directories, and of stdin ("-").

    Returns:
        Each workflow with the file it is from, in the order given.

    Raises:
        CliError: a file is absent, empty or malformed.
    """
    workflows = [(name, each) for name, text in texts(paths) for each in workflows_of(name, text)]
    if not workflows:
        raise CliError("there is no workflow in these files", code=Exit.USAGE)
    return workflows


def workflows_of(name: str, text: str) -> list[Workflow]:
    """Read the workflows of one file's text: envelopes, or one document, which names itself.

    Raises:
        CliError: it is malformed.
    """
    documents = parse_documents(name, text)
    if not any(_is_bare(document) for document in documents):
        reader = EnvelopeReader(name, {"document": _text})
        return [reader.read(document, KIND, Workflow()) for document in documents]
    if len(documents) > 1:
        raise FileError(name, None, "a workflow document stands alone in its file")
    return [Workflow(name=document_name(name, text), spec=WorkflowSpec(document=text))]


def _is_bare(document: Any) -> bool:
    return isinstance(document, dict) and "document" in document


def _text(document: Any) -> str:
    """Return a document that is part of its envelope as a text of its own."""
    text = io.StringIO()
    YAML(typ="rt").dump(document, text)
    return text.getvalue()
