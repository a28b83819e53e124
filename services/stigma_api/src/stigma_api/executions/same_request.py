"""Compares a start request with the recorded one: JSON counts as a value, not as text."""

from __future__ import annotations

from typing import Any

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts import json_text
from stigma_api.executions.admission import spec_digest
from stigma_api.kinds import ExecutionSpec, StartRequest

_TOOL_SCHEMAS = ("input_schema", "output_schema")


def differs_in_json_text_only(request: StartRequest, recorded: ExecutionSpec, digest: str) -> bool:
    """Return whether a request is the recorded one, with other blanks or key order in its JSON.

    Args:
        request: checked; its own digest is not the recorded one.
        recorded: of the execution that the request id has started.
        digest: of the recorded request, in hex.
    """
    same = type(request).FromString(request.SerializeToString())
    if not _same_value(request.input_json, recorded.input_json):
        return False
    same.input_json = recorded.input_json
    if isinstance(same, StartAgentRequest) and isinstance(recorded, AgentExecutionSpec):
        inline = [same.spec] if same.HasField("spec") else []
        if not all(_adopt_schemas(agent, recorded.agent) for agent in inline):
            return False
    return spec_digest(same).hex() == digest


def _adopt_schemas(agent: AgentSpec, recorded: AgentSpec) -> bool:
    """Give an agent the schemas of the recorded one; return False where any differs in value."""
    if len(agent.tools) != len(recorded.tools):
        return False
    pairs = zip(agent.tools, recorded.tools, strict=True)
    fields: list[tuple[Any, Any, str]] = [(agent, recorded, "output_schema")]
    fields += [(ours, theirs, name) for ours, theirs in pairs for name in _TOOL_SCHEMAS]
    for ours, theirs, name in fields:
        if not _same_value(getattr(ours, name), getattr(theirs, name)):
            return False
        setattr(ours, name, getattr(theirs, name))
    return True


def _same_value(text: str, other: str) -> bool:
    # As text in one form: to Python, true equals 1.
    try:
        return text == other or _canonical(text) == _canonical(other)
    except (ValueError, RecursionError):
        return False


def _canonical(text: str) -> str:
    return json_text.compact(json_text.parse(text), sort_keys=True)
