"""Limits and tools of agents, as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stigma.agent.v1.agent_pb2 import Agent, Tool
from stigma_api.console.rendering import format_count, format_duration


@dataclass(frozen=True)
class ToolRow:
    """One tool of an agent."""

    name: str
    kind: str
    runs: str
    """Name of what runs a call of it."""
    description: str


def limit_rows(agent: Agent) -> Sequence[tuple[str, str]]:
    """Return the limits of an agent, each with its value; those that it leaves to defaults not."""
    limits = agent.spec.limits
    rows = []
    if limits.HasField("timeout"):
        rows.append(("Timeout", format_duration(limits.timeout.ToTimedelta())))
    rows += [
        (label, format_count(value))
        for label, value in (
            ("Steps", limits.steps),
            ("Tokens", limits.tokens),
            ("Tool calls", limits.tool_calls),
        )
        if value
    ]
    if limits.cost_usd:
        rows.append(("Cost", f"${limits.cost_usd:g}"))
    return rows


def tool_rows(agent: Agent) -> Sequence[ToolRow]:
    """Return the tools of an agent; of an MCP server, those that it listed when it was applied."""
    return [*(_row(tool) for tool in agent.spec.tools), *_listed(agent)]


def _row(tool: Tool) -> ToolRow:
    kind = tool.WhichOneof("kind") or ""
    match kind:
        case "activity":
            runs = f"{tool.activity.type} on {tool.activity.task_queue}"
        case "workflow":
            called = tool.workflow
            runs = called.name or f"{called.type} on {called.task_queue}"
        case "nexus":
            runs = f"{tool.nexus.endpoint}, {tool.nexus.service}.{tool.nexus.operation}"
        case "mcp":
            runs = f"server {tool.mcp.server}"
        case "agent":
            runs = tool.agent.agent
        case "question" | "client":
            runs = "a person"
        case _:
            runs = ""
    return ToolRow(tool.name or tool.mcp.server, kind, runs, tool.description)


def _listed(agent: Agent) -> Sequence[ToolRow]:
    return [
        ToolRow(each.exposed_name, "mcp tool", f"server {each.server}", each.description)
        for each in agent.mcp_tools
    ]
