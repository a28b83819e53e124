"""`stigma agent`: the registry of agents."""

from __future__ import annotations

import asyncio
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
from stigma_cli.agent_files import read_agents
from stigma_cli.connections import Api, open_api
from stigma_cli.exits import CliError
from stigma_cli.output import (
    Format,
    Output,
    as_json,
    as_time,
    print_json,
    print_line,
    print_table,
)

app = typer.Typer(help="Register, show and delete agents.", no_args_is_help=True)

Files = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help='A file, a directory of files, or "-" for stdin; may be given again.',
        show_default=False,
    ),
]


@app.command()
def apply(
    file: Files,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check only: nothing is registered.")
    ] = False,
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
    applied: list[Agent] = []
    async with open_api() as api:
        for file, agent in agents:
            try:
                applied.append(await apply_agent(api, agent, dry_run=dry_run))
            except CliError as error:
                raise CliError(f"{file}: {error.message}", error.hint, code=error.code) from None
            if output is Format.TEXT:
                version = f"@{applied[-1].version}" if applied[-1].version else ""
                print_line(f"{agent.name}{version} {'is valid' if dry_run else 'applied'}")
    if output is Format.JSON:
        print_json({"agents": [as_json(agent) for agent in applied]})


async def _get(agent_id: str, output: Format) -> None:
    async with open_api() as api:
        agent = await api.call(api.agents.GetAgent, GetAgentRequest(id=agent_id))
    if output is Format.JSON:
        print_json(as_json(agent))
        return
    rows = [
        ("name", f"{agent.name}@{agent.version}"),
        ("model", agent.spec.model),
        ("description", agent.spec.description),
        ("labels", _labels(agent)),
        ("applied", as_time(agent.create_time)),
        ("digest", agent.digest),
        ("instructions", agent.spec.instructions),
    ]
    for name, value in rows:
        if value:
            print_line(f"{name + ':':14}{value}")


async def _list(output: Format) -> None:
    agents: list[Agent] = []
    async with open_api() as api:
        request = ListAgentsRequest(page_size=1000)
        while True:
            page = await api.call(api.agents.ListAgents, request)
            agents.extend(page.agents)
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    if output is Format.JSON:
        print_json({"agents": [as_json(agent) for agent in agents]})
        return
    print_table(
        ("NAME", "VERSION", "MODEL", "LABELS", "APPLIED"),
        (
            (
                agent.name,
                str(agent.version),
                agent.spec.model,
                _labels(agent),
                as_time(agent.create_time),
            )
            for agent in agents
        ),
    )


async def _delete(name: str, output: Format) -> None:
    async with open_api() as api:
        await api.call(api.agents.DeleteAgent, DeleteAgentRequest(name=name))
    if output is Format.JSON:
        print_json({"deleted": name})
    else:
        print_line(f"{name} deleted")


def _labels(agent: Agent) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(agent.labels.items()))
