"""`stigma agent`: the registry of agents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from stigma.agent.v1.agent_pb2 import Agent, Tool
from stigma.agent.v1.agent_service_pb2 import (
    ApplyAgentRequest,
    DeleteAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
)
from stigma.contracts import definition_text
from stigma.contracts.executions import Kind
from stigma.contracts.tools import agents_called, stands_for
from stigma_cli import agent_ask, agent_show, definitions
from stigma_cli.definition_checks import agents_to_apply
from stigma_cli.definition_files import FileDefinition
from stigma_cli.definitions import DefinitionKind, DryRun, Yes
from stigma_cli.options import Files, FilesOption, given_files
from stigma_cli.output import Format, Output, as_duration

app = typer.Typer(help="Register, show, ask and delete agents.", no_args_is_help=True)


def _tool_text(agent: Agent, tool: Tool) -> str:
    """Return a tool's name, what runs it, and its policy where it is not the default."""
    runs = _runs_text(agent, tool)
    policy = ", ".join(f"{name} {value}".rstrip() for name, value in _policy(tool))
    if not policy:
        return runs
    return f"{runs.removesuffix(')')}; {policy})" if runs.endswith(")") else f"{runs} ({policy})"


def _policy(tool: Tool) -> Iterator[tuple[str, str]]:
    """Yield the fields of a tool's policy that are given, by their names in files."""
    for field, value in tool.policy.ListFields():
        text = as_duration(value.ToTimedelta()) if isinstance(value, Duration) else str(value)
        yield field.json_name, "" if value is True else text


def _limits_text(agent: Agent) -> str:
    parts = []
    for field, value in agent.spec.limits.ListFields():
        text = as_duration(value.ToTimedelta()) if isinstance(value, Duration) else f"{value:g}"
        parts.append(f"{field.json_name} {text}")
    return ", ".join(parts)


def _runs_text(agent: Agent, tool: Tool) -> str:
    """Return a tool's name, and what runs it."""
    name, what = tool.name, ""
    match tool.WhichOneof("kind"):
        case "activity":
            what = f"activity {tool.activity.type} on {tool.activity.task_queue}"
        case "workflow" if tool.workflow.name:
            what = f"workflow {tool.workflow.name}"
        case "workflow":
            what = f"workflow {tool.workflow.type} on {tool.workflow.task_queue}"
        case "nexus":
            service = f"{tool.nexus.service}.{tool.nexus.operation}"
            what = f"Nexus operation {service} of {tool.nexus.endpoint}"
        case "mcp":
            listed = [each.exposed_name for each in agent.mcp_tools if stands_for(tool.mcp, each)]
            name = ", ".join(listed or tool.mcp.tools) or "all tools"
            what = f"of MCP server {tool.mcp.server}"
        case "agent":
            what = f"agent {tool.agent.agent}"
        case "question":
            what = "a question to people"
        case "client":
            what = "runs with whoever answers"
    return f"{name} ({what})" if what else name


def called_first(found: Sequence[FileDefinition[Agent]]) -> list[FileDefinition[Agent]]:
    """Return agents in the order in which they can be registered: those that others call first."""
    ordered: list[FileDefinition[Agent]] = []
    seen: set[int] = set()

    def visit(index: int) -> None:
        if index in seen:
            return
        seen.add(index)
        spec = found[index].definition.spec
        called = {each.partition("@")[0] for each in agents_called(spec)}
        for other, each in enumerate(found):
            if each.definition.name in called:
                visit(other)
        ordered.append(found[index])

    for index in range(len(found)):
        visit(index)
    return ordered


def _approval_warning(agent: Agent) -> str:
    """Say that every call waits for a person: nobody who has not read so expects it."""
    asks = any(tool.WhichOneof("kind") not in {"question", "client"} for tool in agent.spec.tools)
    if not asks or agent.spec.approval.rules:
        return ""
    return "each call of its tools waits for a person's approval: spec.approval has no rules"


AGENTS: DefinitionKind[Agent] = DefinitionKind(
    kind=Kind.AGENT,
    warning=_approval_warning,
    read=lambda files: called_first(agents_to_apply(files)),
    apply=lambda api, agent, dry_run: api.call_checked(
        api.agents.ApplyAgent, ApplyAgentRequest(agent=agent, validate_only=dry_run)
    ),
    get=lambda api, agent_id: api.call(api.agents.GetAgent, GetAgentRequest(id=agent_id)),
    list_page=lambda api, token: api.call(
        api.agents.ListAgents, ListAgentsRequest(page_size=1000, page_token=token)
    ),
    delete=lambda api, name: api.call(api.agents.DeleteAgent, DeleteAgentRequest(name=name)),
    column=("MODEL", lambda agent: definition_text.runs(agent.spec)),
    rows=lambda agent: [
        ("model", agent.spec.model),
        ("runtime", definition_text.runs(agent.spec) if agent.spec.HasField("runtime") else ""),
        ("description", agent.spec.description),
        ("tools", ", ".join(_tool_text(agent, tool) for tool in agent.spec.tools)),
        ("limits", _limits_text(agent)),
    ],
    body=lambda agent: ("instructions", agent.spec.instructions),
)


@app.command()
def apply(
    files: Files = None,
    file: FilesOption = None,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
) -> None:
    """Register agents, or new versions of them.

    Unchanged ones stay as they are.
    """
    definitions.apply_files(AGENTS, given_files(files, file), dry_run, output)


@app.command()
def get(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="NAME for the newest version, or NAME@VERSION.")
    ],
    output: Output = Format.TEXT,
) -> None:
    """Show one agent."""
    definitions.print_one(AGENTS, agent, output)


@app.command("list")
def list_(output: Output = Format.TEXT) -> None:
    """List the newest version of every agent."""
    definitions.print_all(AGENTS, output)


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")],
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Delete all versions of an agent. Running executions keep theirs."""
    definitions.delete(AGENTS, name, output, yes=yes)


app.command()(agent_ask.ask)
app.command()(agent_show.show)
