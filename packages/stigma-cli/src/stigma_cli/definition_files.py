"""Agents and workflows as files: in Stigma's envelope, or a workflow document as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from stigma.agent.v1.agent_pb2 import Agent
from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowSpec
from stigma_cli.documents import document_name
from stigma_cli.errors import CliError, Exit
from stigma_cli.places import START
from stigma_cli.problems import Problem
from stigma_cli.resource_files import AGENT, WORKFLOW, D, EnvelopeReader
from stigma_cli.strict_json import TOO_DEEP, dump_json
from stigma_cli.violations import is_document
from stigma_cli.yaml_files import FileError, YamlFile, dump_document, parse_file, parse_files

# Fields of JSON text, which a file may have as a mapping.
_JSON_FIELDS = ("input_schema", "output_schema", "arguments_json")


@dataclass(frozen=True)
class FileDefinition(Generic[D]):
    """A definition, as far as it can be read, and where it is from."""

    definition: D
    source: YamlFile
    index: int
    """Of the definition's document in the file."""
    mistakes: Sequence[Problem] = ()
    """Of its envelope: what they are about is not read."""

    @property
    def file(self) -> str:
        """The name of the file in messages."""
        return self.source.name

    def document(self) -> Any:
        """Return the document of the file, with its places."""
        return self.source.documents[self.index]


def read_agents(paths: Iterable[Path]) -> list[FileDefinition[Agent]]:
    """Read the agents of files, of the files in directories, and of stdin ("-"), in order.

    Raises:
        CliError: a file is absent, empty or malformed.
    """
    read = [each for file in parse_files(paths) for each in _good_agents(file)]
    if not read:
        raise CliError("there is no agent in these files", code=Exit.USAGE)
    return read


def agents_of(name: str, text: str) -> list[Agent]:
    """Read the agents of one file's text.

    Raises:
        CliError: it is malformed; with every mistake.
    """
    return [each.definition for each in _good_agents(parse_file(name, text))]


def _good_agents(file: YamlFile) -> list[FileDefinition[Agent]]:
    found, mistakes = agents_and_mistakes(file)
    if mistakes:
        first, *more = [each.in_file(file.name) for each in mistakes]
        raise CliError(first, code=Exit.USAGE, more=more)
    return found


def agents_and_mistakes(file: YamlFile) -> tuple[list[FileDefinition[Agent]], list[Problem]]:
    """Read the agents of one file as far as they can be read, and all mistakes of their envelopes.

    Raises:
        CliError: it is not YAML.
    """
    reader = EnvelopeReader(file.name, dict.fromkeys(_JSON_FIELDS, _json_text))
    return _enveloped(file, reader, AGENT, Agent)


def workflows_and_mistakes(
    file: YamlFile,
) -> tuple[list[FileDefinition[Workflow]], list[Problem]]:
    """Read the workflows of one file likewise: envelopes, or one document, which names itself.

    Raises:
        CliError: it is not YAML, or a document among others, or one without a name.
    """
    documents = file.parsed()
    if not any(map(is_document, documents)):
        reader = EnvelopeReader(file.name, {"document": dump_document})
        return _enveloped(file, reader, WORKFLOW, Workflow)
    if len(documents) > 1:
        raise FileError(file.name, START, "a workflow document stands alone in its file")
    workflow = Workflow(name=document_name(file), spec=WorkflowSpec(document=file.text))
    return [FileDefinition(workflow, file, 0)], []


def _enveloped(
    file: YamlFile, reader: EnvelopeReader, kind: str, new: Callable[[], D]
) -> tuple[list[FileDefinition[D]], list[Problem]]:
    read = [reader.read(document, kind, new) for document in file.parsed()]
    found = [
        FileDefinition(definition, file, index, mistakes)
        for index, (definition, mistakes) in enumerate(read)
        if definition is not None
    ]
    return found, [mistake for _, mistakes in read for mistake in mistakes]


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
