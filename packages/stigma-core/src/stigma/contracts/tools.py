"""Tools of agents: their policy, and the ids, header and argument of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec, ToolCall
from stigma.agent.v1.agent_pb2 import AgentSpec, McpTool, McpToolDefinition, Tool
from stigma.contracts import json_text, limits
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput

CALL_HEADER = "stigma-call"
"""Temporal header, or Nexus header, of a call: JSON text that says whose it is."""

OUTPUT_TOOL = "final_result"
"""Name of the tool by which a model gives its structured output; no agent's tool has it."""

LIST_MCP_TOOLS_ID = "list-mcp-tools"
"""Id of the activity that lists the tools of MCP servers once more when an execution starts."""

_MODEL, _TOOL, _SUMMARY = "model-", "tool-", "summary-"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_KEYS = re.compile(r"[-_]")
_CALL = re.compile(r"[0-9]+-[0-9]+")


@dataclass(frozen=True)
class Policy:
    """A tool's policy with all defaults."""

    timeout: timedelta
    attempt_timeout: timedelta
    heartbeat_timeout: timedelta | None
    start_timeout: timedelta
    attempts: int
    max_result_bytes: int

    @property
    def retry_safe(self) -> bool:
        """Whether a call may run more than once."""
        return self.attempts != 1

    @classmethod
    def of(cls, tool: Tool) -> Policy:
        """Return the policy of a tool."""
        given = tool.policy
        timeout = given.timeout.ToTimedelta() or limits.DEFAULT_TOOL_TIMEOUT
        return cls(
            timeout=timeout,
            attempt_timeout=min(_or(given.attempt_timeout, timeout), timeout),
            heartbeat_timeout=given.heartbeat_timeout.ToTimedelta() or None,
            start_timeout=min(_or(given.start_timeout, limits.DEFAULT_TOOL_START_TIMEOUT), timeout),
            attempts=(given.attempts or limits.DEFAULT_TOOL_ATTEMPTS) if given.retry_safe else 1,
            max_result_bytes=given.max_result_bytes or limits.DEFAULT_TOOL_RESULT_BYTES,
        )


def of_input(request: AgentWorkflowInput) -> list[Tool]:
    """Return the tools that the model of an execution may call.

    A tool of kind mcp stands for several of its server: each is returned under the name that the
    model is given, with the policy of the one that stands for it.
    """
    return [
        each
        for tool in request.spec.agent.tools
        for each in (_expanded(tool, request) if tool.HasField("mcp") else [tool])
    ]


def _expanded(tool: Tool, request: AgentWorkflowInput) -> Iterator[Tool]:
    for definition in request.mcp_tools:
        if stands_for(tool.mcp, definition):
            yield Tool(
                name=definition.exposed_name,
                description=definition.description,
                input_schema=definition.input_schema,
                output_schema=definition.output_schema,
                mcp=McpTool(server=definition.server, tools=[definition.name]),
                policy=tool.policy,
            )


def stands_for(entry: McpTool, definition: McpToolDefinition) -> bool:
    """Return whether a tool of a server is among those that an agent's entry stands for."""
    return (
        definition.server == entry.server
        and (not entry.tools or definition.name in entry.tools)
        and definition.exposed_name == exposed_name(entry.prefix, definition.name)
    )


def exposed_name(prefix: str, name: str) -> str:
    """Return the name that the model is given of a server's tool; providers take no other signs."""
    return _NOT_IN_NAMES.sub("_", prefix + name)


def agents_called(agent: AgentSpec) -> Iterator[str]:
    """Yield the agents that an agent's tools name."""
    for tool in agent.tools:
        if tool.HasField("agent"):
            yield tool.agent.agent


def by_name(tools: Any) -> Mapping[str, Tool]:
    """Return the tools of an agent by their names."""
    return {tool.name: tool for tool in tools}


def name_key(name: str) -> str:
    """Return what two tools of an agent may not have in common: providers may see no more."""
    return _NOT_IN_KEYS.sub("", name).lower()


def call_id(step: int, number: int) -> str:
    """Return the id of a step's call; both count from 1. Providers' own ids may repeat."""
    return f"{step}-{number}"


def model_activity_id(step: int) -> str:
    """Return the id of the activity that calls the model."""
    return f"{_MODEL}{step}"


def tool_activity_id(call: str) -> str:
    """Return the id of the activity that runs a call."""
    return f"{_TOOL}{call}"


def model_step(activity_id: str) -> int | None:
    """Return the step of a model call's activity; None for any other activity."""
    number = activity_id.removeprefix(_MODEL)
    return int(number) if number != activity_id and number.isdecimal() else None


def summary_activity_id(step: int) -> str:
    """Return the id of the activity that summarises what precedes a model call."""
    return f"{_SUMMARY}{step}"


def summary_step(activity_id: str) -> int | None:
    """Return the step that a summary's activity is for; None for any other activity."""
    number = activity_id.removeprefix(_SUMMARY)
    return int(number) if number != activity_id and number.isdecimal() else None


def called_by_activity(activity_id: str) -> str:
    """Return the call that an activity runs; empty for any other activity."""
    return activity_id.removeprefix(_TOOL) if activity_id.startswith(_TOOL) else ""


def child_workflow_id(execution_id: str, call: str) -> str:
    """Return the workflow id of the child that runs a call."""
    return f"{execution_id}-{call}"


def called_by_child(execution_id: str, workflow_id: str) -> str:
    """Return the call that a child runs; empty for any other child."""
    prefix = f"{execution_id}-"
    call = workflow_id.removeprefix(prefix) if workflow_id.startswith(prefix) else ""
    return call if _CALL.fullmatch(call) else ""


def called_by_operation(headers: Mapping[str, str]) -> str:
    """Return the call that a Nexus operation runs, by its headers; empty where it runs none."""
    text = next((value for name, value in headers.items() if name.lower() == CALL_HEADER), "")
    try:
        value = json_text.parse(text)
    except ValueError:
        return ""
    return str(value.get("call", "")) if isinstance(value, dict) else ""


def idempotency_key(execution_id: str, call: str) -> str:
    """Return a call's key: equal over attempts, workers, resets and continue-as-new."""
    return f"{execution_id}/{call}"


def header_text(execution_id: str, spec: AgentExecutionSpec, call: str) -> str:
    """Return the header of a call, for what runs it."""
    return json_text.compact(
        {
            "execution": execution_id,
            "agent": spec.agent_id,
            "session": spec.session_id,
            "call": call,
            "principal": spec.principal,
            "idempotency_key": idempotency_key(execution_id, call),
        }
    )


def argument_text(execution_id: str, tool: Tool, call: ToolCall) -> str:
    """Return the argument of a call as JSON text: the model's, and the key where the tool asks."""
    name = tool.policy.idempotency_argument
    if not name:
        return call.arguments_json
    arguments = json_text.parse(call.arguments_json)
    return json_text.compact({**arguments, name: idempotency_key(execution_id, call.call_id)})


def model_schema(tool: Tool) -> dict[str, Any]:
    """Return the schema of the arguments that the model gives: without the idempotency argument.

    Raises:
        ValueError: the schema is not JSON.
    """
    if tool.HasField("question"):
        return _question_schema()
    if tool.HasField("agent") and not tool.input_schema:
        return _message_schema()
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    if tool.input_schema:
        schema = json_text.parse(tool.input_schema)
    hidden = tool.policy.idempotency_argument
    if hidden:
        properties = schema.get("properties")
        if isinstance(properties, dict):
            schema["properties"] = {k: v for k, v in properties.items() if k != hidden}
        required = schema.get("required")
        if isinstance(required, list):
            schema["required"] = [name for name in required if name != hidden]
    return schema


def _message_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"message": {"type": "string", "minLength": 1}},
        "required": ["message"],
        "additionalProperties": False,
    }


def _question_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1},
            "schema": {"type": "object", "description": "JSON Schema of the answer"},
        },
        "required": ["question"],
        "additionalProperties": False,
    }


def _or(value: Duration, default: timedelta) -> timedelta:
    return value.ToTimedelta() or default
