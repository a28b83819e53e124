"""`stigma agent show`: all of an agent, its versions, and what one has that another has not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import GetAgentRequest
from stigma.contracts.definition_text import changed_lines, definition_text
from stigma_cli.connections import Api, open_api
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import (
    Format,
    Output,
    as_age,
    as_json,
    as_time,
    print_json,
    print_line,
    print_table,
)

_MAX_VERSIONS = 100


def show(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="NAME for the newest version, or NAME@VERSION.")
    ],
    diff: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--diff", metavar="A B", help="Show what version B has otherwise than version A."
        ),
    ] = None,
    versions: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=_MAX_VERSIONS, help="Most versions shown, the newest first."
        ),
    ] = 10,
    output: Output = Format.TEXT,
) -> None:
    """Show all of an agent, and its versions.

    With --diff, show what has changed between two versions.
    """
    name, _, version = agent.partition("@")
    if diff is None:
        asyncio.run(_show(agent, versions, output))
    elif version:
        raise CliError("--diff names the versions: give the agent's name only", code=Exit.USAGE)
    else:
        asyncio.run(_diff(name, diff, output))


async def _show(agent_id: str, most: int, output: Format) -> None:
    async with open_api() as api:
        shown = await _get(api, agent_id)
        found, has_more = await _versions(api, shown.name, most)
    if output is Format.JSON:
        briefs = [
            {
                "version": each.version,
                "createTime": as_json(each.create_time),
                "digest": each.digest,
            }
            for each in found
        ]
        print_json({"agent": as_json(shown), "versions": briefs})
        return
    print_line(f"{shown.name}@{shown.version}, applied {as_time(shown.create_time)}")
    print_line(f"digest {shown.digest}")
    print_line("")
    print_line(definition_text(shown))
    print_line("")
    rows = (
        (f"@{each.version}", as_age(each.create_time), each.digest[:12], _differs(each, shown))
        for each in found
    )
    print_table((">VERSION", ">AGE", "DIGEST", ""), rows)
    if has_more:
        print_line(f"(the newest {most}; see --versions)")


async def _diff(name: str, wanted: tuple[int, int], output: Format) -> None:
    async with open_api() as api:
        before, after = [await _get(api, f"{name}@{version}") for version in wanted]
    lines = changed_lines(definition_text(before), definition_text(after))
    if output is Format.JSON:
        changes = [{"sign": each.sign, "text": each.text} for each in lines]
        print_json({"from": before.version, "to": after.version, "changes": changes})
        return
    print_line(f"--- {name}@{before.version}")
    print_line(f"+++ {name}@{after.version}")
    for each in lines:
        print_line(each.text if each.sign == "@" else f"{each.sign}{each.text}")
    if not lines:
        print_line("(nothing differs)")


async def _versions(api: Api, name: str, most: int) -> tuple[Sequence[Agent], bool]:
    """Return the newest versions of an agent, and whether there are more.

    Versions are numbered without gaps, and deleted together: below one that is gone there is none.
    """
    found = [await _get(api, name)]
    while len(found) < most and found[-1].version > 1:
        older = await _find(api, f"{name}@{found[-1].version - 1}")
        if older is None:
            return found, False
        found.append(older)
    return found, found[-1].version > 1 and len(found) == most


async def _get(api: Api, agent_id: str) -> Agent:
    found: Agent = await api.call(api.agents.GetAgent, GetAgentRequest(id=agent_id))
    return found


async def _find(api: Api, agent_id: str) -> Agent | None:
    try:
        return await _get(api, agent_id)
    except CliError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        return None


def _differs(version: Agent, shown: Agent) -> str:
    if version.version == shown.version:
        return "shown"
    return "the same content" if version.digest == shown.digest else ""
