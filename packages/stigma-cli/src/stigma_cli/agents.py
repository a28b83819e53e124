"""`stigma agent`: the registry of agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import (
    ApplyAgentRequest,
    DeleteAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
)
from stigma.contracts.executions import Kind
from stigma_cli.agent_files import read_agents
from stigma_cli.connections import Api, open_api
from stigma_cli.definitions import (
    DryRun,
    Files,
    all_pages,
    apply_each,
    labels_text,
    print_definition,
    print_definitions,
    print_deleted,
)
from stigma_cli.output import Format, Output, as_time

app = typer.Typer(help="Register, show and delete agents.", no_args_is_help=True)


@app.command()
def apply(
    file: Files,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
) -> None:
    """Register agents, or new versions of them.

    Unchanged ones stay as they are.
    """
    asyncio.run(_apply(file, dry_run, output))


@app.command()
def get(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="NAME for the newest version, or NAME@VERSION.")
    ],
    output: Output = Format.TEXT,
) -> None:
    """Show one agent."""
    asyncio.run(_get(agent, output))


@app.command("list")
def list_(output: Output = Format.TEXT) -> None:
    """List the newest version of every agent."""
    asyncio.run(_list(output))


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")],
    output: Output = Format.TEXT,
) -> None:
    """Delete all versions of an agent. Running executions keep theirs."""
    asyncio.run(_delete(name, output))


async def apply_agent(api: Api, agent: Agent, *, dry_run: bool = False) -> Agent:
    """Register one agent; returns the version it has."""
    request = ApplyAgentRequest(agent=agent, validate_only=dry_run)
    return await api.call(api.agents.ApplyAgent, request)


async def _apply(files: list[Path], dry_run: bool, output: Format) -> None:
    agents = read_agents(files)
    async with open_api() as api:
        apply = partial(apply_agent, api, dry_run=dry_run)
        await apply_each(Kind.AGENT, agents, apply, dry_run=dry_run, output=output)


async def _get(agent_id: str, output: Format) -> None:
    async with open_api() as api:
        agent = await api.call(api.agents.GetAgent, GetAgentRequest(id=agent_id))
    rows = [
        ("name", f"{agent.name}@{agent.version}"),
        ("model", agent.spec.model),
        ("description", agent.spec.description),
        ("labels", labels_text(agent.labels)),
        ("applied", as_time(agent.create_time)),
        ("digest", agent.digest),
        ("instructions", agent.spec.instructions),
    ]
    print_definition(agent, rows, output)


async def _list(output: Format) -> None:
    async with open_api() as api:

        async def page(token: str) -> tuple[Sequence[Agent], str]:
            request = ListAgentsRequest(page_size=1000, page_token=token)
            listed = await api.call(api.agents.ListAgents, request)
            return listed.agents, listed.next_page_token

        agents = await all_pages(page)
    own = ("MODEL", lambda agent: agent.spec.model)
    print_definitions(Kind.AGENT, agents, own, output)


async def _delete(name: str, output: Format) -> None:
    async with open_api() as api:
        await api.call(api.agents.DeleteAgent, DeleteAgentRequest(name=name))
    print_deleted(name, output)
