"""Definitions as text that people read and compare, a field a line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from stigma.agent.v1.agent_pb2 import (
    Agent,
    AgentSpec,
    ApprovalExpiry,
    ApprovalRequirement,
    ContextStrategy,
)
from stigma.contracts.indented_json import indent_json
from stigma.workflow.v1.workflow_pb2 import Workflow

MAX_LINES = 3000
"""Most lines of a text that are compared: what a comparison costs grows with their square."""

_JSON_FIELDS = ("Schema", "Json")
_ENUM_FIELDS = ("require", "onExpiry", "strategy")
_SHORT_NAMES = {
    name: name.removeprefix(enum.keys()[0].removesuffix("UNSPECIFIED"))
    for enum in (ApprovalRequirement, ApprovalExpiry, ContextStrategy)
    for name in enum.keys()  # noqa: SIM118 - no mapping
}
"""Names of enums' values as files have them."""
_CONTEXT_LINES = 3
_HEADER_LINES = 2


@dataclass(frozen=True)
class ChangedLine:
    """A line of a comparison."""

    sign: str
    """`+` or `-`; a blank: both have it; `@`: the place of the lines that follow."""
    text: str


def runs(agent: AgentSpec) -> str:
    """Return what an agent runs, for people: its model, or its workflow and where that runs."""
    if not agent.HasField("runtime"):
        return agent.model
    return f"{agent.runtime.workflow_type} on {agent.runtime.task_queue}"


def definition_text(definition: Agent | Workflow) -> str:
    """Return labels and spec of a definition as YAML-like lines, JSON schemas indented."""
    fields: dict[str, Any] = {}
    if definition.labels:
        fields["labels"] = dict(sorted(definition.labels.items()))
    fields |= json_format.MessageToDict(definition.spec)
    if isinstance(definition, Agent) and definition.mcp_tools:
        fields["mcpTools"] = {each.exposed_name: each.digest for each in definition.mcp_tools}
    return "\n".join(_mapping(fields))


def changed_lines(before: str, after: str) -> list[ChangedLine]:
    """Return the lines in which two texts differ, with those around them; none: they are equal.

    Lines after `MAX_LINES` are not compared.
    """
    old, new = (text.splitlines()[:MAX_LINES] for text in (before, after))
    compared = difflib.unified_diff(old, new, n=_CONTEXT_LINES, lineterm="")
    lines = list(compared)[_HEADER_LINES:]
    return [ChangedLine(line[:1], line if line[:1] == "@" else line[1:]) for line in lines]


def _mapping(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        yield from _entry(name, value)


def _entry(name: str, value: Any) -> Iterator[str]:
    match value:
        case dict() if value:
            yield f"{name}:"
            yield from _indented(_mapping(value))
        case list() if value:
            yield f"{name}:"
            for each in value:
                yield from _item(each)
        case str():
            text = indent_json(value) if name.endswith(_JSON_FIELDS) else value
            text = _SHORT_NAMES.get(text, text) if name in _ENUM_FIELDS else text
            if "\n" in text:
                yield f"{name}: |"
                yield from _indented(text.splitlines())
            else:
                yield f"{name}: {text}"
        case _:
            yield f"{name}: {json.dumps(value)}"


def _item(value: Any) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield f"- {value if isinstance(value, str) else json.dumps(value)}"
        return
    first, *rest = _mapping(value)
    yield f"- {first}"
    yield from _indented(rest)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
