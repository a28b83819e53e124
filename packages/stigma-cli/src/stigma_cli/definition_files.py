"""Agents and workflows as files: in Stigma's envelope, or a workflow document as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from stigma.agent.v1.agent_pb2 import Agent
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma_cli.documents import document_name
from stigma_cli.errors import CliError, Exit
from stigma_cli.places import START
from stigma_cli.problems import Problem
from stigma_cli.resource_files import AGENT, WORKFLOW, D, EnvelopeReader, texts
from stigma_cli.strict_json import TOO_DEEP, dump_json
from stigma_cli.yaml_files import FileError, dump_document, parse_documents

# Fields of JSON text, which a file may have as a mapping.
_JSON_FIELDS = ("input_schema", "output_schema", "arguments_json")


@dataclass(frozen=True)
class FileDefinition(Generic[D]):
    """A definition, and where it is from."""

    definition: D
    file: str
    """Its name in messages."""
    text: str
    """The whole file's."""
    index: int
    """Of the definition's document in the file."""

    def document(self) -> Any:
        """Return the document of the file, with its places."""
        return parse_documents(self.file, self.text)[self.index]


def read_agents(paths: Iterable[Path]) -> list[FileDefinition[Agent]]:
    """Read the agents of files, of the files in directories, and of stdin ("-"), in order.

    Raises:
        CliError: a file is absent, empty or malformed.
    """
    read = [
        FileDefinition(each, name, text, index)
        for name, text in texts(paths)
        for index, each in enumerate(agents_of(name, text))
    ]
    if not read:
        raise CliError("there is no agent in these files", code=Exit.USAGE)
    return read


def agents_of(name: str, text: str) -> list[Agent]:
    """Read the agents of one file's text.

    Raises:
        CliError: it is malformed; with every mistake.
    """
    reader = EnvelopeReader(name, dict.fromkeys(_JSON_FIELDS, _json_text))
    return reader.read_all(parse_documents(name, text), AGENT, Agent)


def agents_and_mistakes(name: str, text: str) -> tuple[list[Agent | None], list[Problem]]:
    """Read the agents of one file's text, None for each malformed one, and all their mistakes.

    Raises:
        CliError: it is not YAML.
    """
    reader = EnvelopeReader(name, dict.fromkeys(_JSON_FIELDS, _json_text))
    return reader.read_good(parse_documents(name, text), AGENT, Agent)


def workflows_and_mistakes(name: str, text: str) -> tuple[list[Workflow | None], list[Problem]]:
    """Read the workflows of one file's text: envelopes, or one document, which names itself.

    Returns:
        them, None for each malformed one, and all mistakes of their envelopes.

    Raises:
        CliError: it is not YAML, or a document among others, or one without a name.
    """
    documents = parse_documents(name, text)
    if not any(map(is_document, documents)):
        reader = EnvelopeReader(name, {"document": dump_document})
        return reader.read_good(documents, WORKFLOW, Workflow)
    if len(documents) > 1:
        raise FileError(name, START, "a workflow document stands alone in its file")
    return [Workflow(name=document_name(name, text), spec=WorkflowSpec(document=text))], []


def is_document(document: Any) -> bool:
    """Return whether a document of a file is a workflow document as it is."""
    return isinstance(document, dict) and "document" in document


def _json_text(value: Any) -> str:
    try:
        return dump_json(_plain(value))
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def _plain(value: Any) -> Any:
    """Convert YAML's own collections to JSON's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
