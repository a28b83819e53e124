"""Progress of a run: a live table on a terminal, else one line whenever a task begins or ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from temporalio.client import WorkflowHandle

from stigma_cli.output import console, print_line
from stigma_cli.runs import result, trace

_POLL_SECONDS = 0.3

Tasks = Sequence[Mapping[str, Any]]


async def follow(handle: WorkflowHandle[Any, Any]) -> Any:
    """Show a run's tasks until it ends; returns its output.

    Raises:
        CliError: the run failed, or was cancelled, terminated or timed out.
    """
    out = console()
    outcome = asyncio.create_task(result(handle))
    try:
        if out.is_terminal:
            await _show_table(out, handle, outcome)
        else:
            await _print_lines(handle, outcome)
        return await outcome
    finally:
        outcome.cancel()


async def _show_table(
    out: Console, handle: WorkflowHandle[Any, Any], outcome: asyncio.Task[Any]
) -> None:
    with Live(console=out, auto_refresh=False) as live:
        while True:
            ended = outcome.done()
            live.update(_table(await trace(handle)), refresh=True)
            if ended:
                return
            await asyncio.wait([outcome], timeout=_POLL_SECONDS)


async def _print_lines(handle: WorkflowHandle[Any, Any], outcome: asyncio.Task[Any]) -> None:
    printed: set[tuple[str, ...]] = set()
    while True:
        ended = outcome.done()
        for task in await trace(handle):
            state = (task["pointer"], task["started"] or "", str(task["attempt"]), task["status"])
            if state not in printed:
                printed.add(state)
                name = f"{_indent(task)}{task['name']}"
                print_line(f"{name:20} {task['status']:10} {_duration_text(task)}".rstrip())
        if ended:
            return
        await asyncio.wait([outcome], timeout=_POLL_SECONDS)


def _table(tasks: Tasks) -> Table:
    table = Table("TASK", "STATUS", "TOOK", "EXECUTION", box=box.SIMPLE_HEAD, pad_edge=False)
    for task in tasks:
        table.add_row(
            f"{_indent(task)}{task['name']}",
            str(task["status"]),
            _duration_text(task),
            str(task.get("executionId", "")),
        )
    return table


def _indent(task: Mapping[str, Any]) -> str:
    pointer = str(task["pointer"])
    return "  " * max(pointer.count("/do/") + pointer.count("/branches/") - 1, 0)


def _duration_text(task: Mapping[str, Any]) -> str:
    if not task["started"] or not task["ended"]:
        return ""
    started, ended = (datetime.fromisoformat(task[each]) for each in ("started", "ended"))
    return f"{(ended - started).total_seconds():.2f} s"
