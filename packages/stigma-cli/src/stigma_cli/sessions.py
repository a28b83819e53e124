"""`stigma session`: conversations of agents that go on over executions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stigma.agent.v1.agent_session_pb2 import AgentSession
from stigma.agent.v1.agent_session_service_pb2 import (
    AGENT_SESSION_VIEW_BASIC,
    AGENT_SESSION_VIEW_FULL,
    DeleteAgentSessionRequest,
    GetAgentSessionRequest,
    ListAgentSessionsRequest,
)
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import message_lines
from stigma_cli.options import not_empty
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
from stigma_cli.terminal_text import escape_line

app = typer.Typer(
    help="Show and delete sessions: conversations with agents.",
    no_args_is_help=True,
)

SessionId = Annotated[
    str, typer.Argument(metavar="ID", callback=not_empty, help="The session's id.")
]
Principal = Annotated[
    str, typer.Option(metavar="NAME", help="Whose session, for admins; your own if left out.")
]


@app.command("list")
def list_(
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Most sessions shown.")
    ] = 50,
    output: Output = Format.TEXT,
) -> None:
    """List your sessions; for admins, those of all principals."""
    asyncio.run(_list(limit, output))


@app.command()
def show(
    session: SessionId,
    full: Annotated[
        bool, typer.Option("--full", help="With what was said, as far as it is carried.")
    ] = False,
    principal: Principal = "",
    output: Output = Format.TEXT,
) -> None:
    """Show one session: what runs, what waits, and what was said."""
    asyncio.run(_show(session, principal, output, full=full))


@app.command()
def delete(session: SessionId, principal: Principal = "") -> None:
    """End a session: its id begins a new one from then on.

    Refused while executions of it run or wait. They stay listed.
    """
    asyncio.run(_delete(session, principal))


async def _list(limit: int, output: Format) -> None:
    async with open_api() as api:
        found, more = await _sessions(api, limit)
    if output is Format.JSON:
        print_json({"sessions": [as_json(each) for each in found]})
        return
    print_table(
        ("ID", "~PRINCIPAL", ">TURNS", ">USED", ">BYTES"),
        (
            (
                each.id,
                each.principal,
                str(each.turns),
                as_age(each.update_time if each.HasField("update_time") else each.create_time),
                str(each.conversation_bytes),
            )
            for each in found
        ),
    )
    if more:
        print_line(f"(the first {limit}; see --limit)")


async def _sessions(api: Api, limit: int) -> tuple[list[AgentSession], bool]:
    """Return up to so many sessions, and whether there are more."""
    found: list[AgentSession] = []
    token = ""
    while True:
        request = ListAgentSessionsRequest(page_size=limit - len(found), page_token=token)
        page = await api.call(api.sessions.ListAgentSessions, request)
        found += page.sessions
        token = page.next_page_token
        if not token or len(found) >= limit:
            return found, bool(token)


async def _show(session: str, principal: str, output: Format, *, full: bool) -> None:
    view = AGENT_SESSION_VIEW_FULL if full else AGENT_SESSION_VIEW_BASIC
    request = GetAgentSessionRequest(id=session, view=view, principal=principal)
    async with open_api() as api:
        found = await api.call_long(api.sessions.GetAgentSession, request)
    if output is Format.JSON:
        print_json(as_json(found))
        return
    for name, value in _rows(found):
        if value:
            print_line(f"{name + ':':10} {escape_line(value)}")
    for message in found.messages:
        for line in message_lines(message):
            print_line(line)


def _rows(found: AgentSession) -> list[tuple[str, str]]:
    dropped = f", the first {found.dropped_turns} dropped" if found.dropped_turns else ""
    return [
        ("session", found.id),
        ("principal", found.principal),
        ("turns", f"{found.turns}{dropped}"),
        ("running", found.running),
        ("waiting", ", ".join(found.waiting)),
        ("bytes", str(found.conversation_bytes)),
        ("created", as_time(found.create_time)),
        ("used", as_time(found.update_time)),
        ("expires", as_time(found.expire_time) if found.HasField("expire_time") else ""),
    ]


async def _delete(session: str, principal: str) -> None:
    request = DeleteAgentSessionRequest(id=session, principal=principal)
    async with open_api() as api:
        await api.call_long(api.sessions.DeleteAgentSession, request)
    print_line(f"{session} is deleted")
