"""Agents as files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stigma.agent.v1.agent_pb2 import Agent
from stigma_cli.exits import CliError, Exit
from stigma_cli.resource_files import EnvelopeReader, parse_documents, texts

KIND = "Agent"


def read_agents(paths: Iterable[Path]) -> list[tuple[str, Agent]]:
    """Read the agents of files, of the files in directories, and of stdin ("-").

    Returns:
        Each agent with the file it is from, in the order given.

    Raises:
        CliError: a file is absent, empty or malformed.
    """
    agents = [(name, agent) for name, text in texts(paths) for agent in agents_of(name, text)]
    if not agents:
        raise CliError("there is no agent in these files", code=Exit.USAGE)
    return agents


def agents_of(name: str, text: str) -> list[Agent]:
    """Read the agents of one file's text.

    Raises:
        FileError: it is malformed.
    """
    reader = EnvelopeReader(name, {"output_schema": _schema})
    return [reader.read(document, KIND, Agent()) for document in parse_documents(name, text)]


def _schema(value: Any) -> str:
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Return YAML's own collections as JSON's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
