"""Progress of a run: a live table on a terminal, else one line whenever a task begins or ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from temporalio.client import WorkflowHandle

from stigma_cli.agent_calls import AgentCalls
from stigma_cli.live_text import last_lines
from stigma_cli.output import console, print_line
from stigma_cli.runs import result, trace
from stigma_cli.tables import table_lines
from stigma_cli.task_lines import RUNNING, TaskLine, in_order, task_lines

_POLL_SECONDS = 0.3


async def follow(handle: WorkflowHandle[Any, Any], agents: AgentCalls) -> Any:
    """Show a run's tasks, and its agents' tool calls, until it ends; returns its output.

    Raises:
        CliError: the run failed, or was cancelled, terminated or timed out.
    """
    out = console()
    outcome = asyncio.create_task(result(handle))
    try:
        if out.is_terminal:
            await _show_table(out, handle, outcome, agents)
        else:
            await print_tasks(handle, outcome, agents)
        return await outcome
    finally:
        outcome.cancel()


async def _show_table(
    out: Console,
    handle: WorkflowHandle[Any, Any],
    outcome: asyncio.Task[Any],
    agents: AgentCalls,
) -> None:
    with Live(console=out, auto_refresh=False) as live:
        agents.write = live.console.print  # above the table
        while True:
            ended = outcome.done()
            lines = task_lines(await trace(handle))
            agents.see(lines)
            shown = Group(_table(lines, out.width), *_writing(agents, out.width))
            live.update(shown, refresh=True)
            if ended:
                await agents.finish()
                return
            await asyncio.wait([outcome], timeout=_POLL_SECONDS)


async def print_tasks(
    handle: WorkflowHandle[Any, Any], outcome: asyncio.Future[Any], agents: AgentCalls
) -> None:
    """Print a line whenever a task of a run begins or ends, until `outcome` is there."""
    printed: set[tuple[tuple[str, str, int], str]] = set()
    while True:
        ended = outcome.done()
        lines = task_lines(await trace(handle))
        agents.see(lines)
        if ended:
            await agents.finish()
        new = new_lines(lines, printed)
        if any(line.status != RUNNING for line in new):
            await agents.catch_up()
        for line in new:
            print_line(f"{line.label:20} {line.status:10} {line.took}".rstrip())
        if ended:
            return
        await asyncio.wait([outcome], timeout=_POLL_SECONDS)


def new_lines(
    lines: Sequence[TaskLine], printed: set[tuple[tuple[str, str, int], str]]
) -> list[TaskLine]:
    """Return what was not printed yet, in the order in which it happened; add it to `printed`."""
    new = [line for line in in_order(lines) if (line.key, line.status) not in printed]
    printed.update((line.key, line.status) for line in new)
    return new


def _writing(agents: AgentCalls, width: int) -> Iterator[Text]:
    """Yield a line for each agent whose model is writing, with the end of its text."""
    for name, text in agents.texts():
        yield Text(last_lines(f"  {name}: ", text, width, 1), no_wrap=True, overflow="ellipsis")


def _table(lines: Sequence[TaskLine], width: int) -> Text:
    columns = ["~TASK", "STATUS", ">TOOK"]
    rows = [[line.label, line.status, line.took] for line in lines]
    if any(line.execution_id for line in lines):
        columns.append("EXECUTION")
        rows = [[*row, line.execution_id] for row, line in zip(rows, lines, strict=True)]
    return Text("\n".join(table_lines(columns, rows, width)), no_wrap=True, overflow="ellipsis")
