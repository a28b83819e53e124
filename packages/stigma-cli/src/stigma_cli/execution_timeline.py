"""`stigma execution timeline`: one execution's story over its caller and itself, on a terminal."""

from __future__ import annotations

import asyncio
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stigma.contracts.executions import Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    GetExecutionTimelineRequest,
    TimelineEntry,
    TimelineStep,
)
from stigma_cli.connections import open_api
from stigma_cli.exits import CliError, Exit
from stigma_cli.output import Format, Output, as_json, as_time, console, print_json

_BAR = 16
_SVG_WIDTH = 120
_COLOURS = {"caller": "cyan", "agent": "magenta", "workflow": "magenta", "engine": "blue"}
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_SECOND = 10**9


def timeline(
    execution: Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")],
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Write it as a picture into this file."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Show how an execution and its caller went on."""
    told = asyncio.run(_read(execution))
    if svg is not None:
        _write_svg(told, svg)
    if output is Format.JSON:
        print_json(as_json(told))
    elif svg is None:
        show(told, console())


def show(told: ExecutionTimeline, out: Console) -> None:
    """Print a timeline: a line an entry, with when, for how long, whose, and what."""
    out.print(_heading(told))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=True)
    table.add_column("AT", justify="right", no_wrap=True)
    table.add_column("TOOK", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("WHO", no_wrap=True)
    table.add_column("WHAT", overflow="fold", ratio=1)
    table.add_column("TOKEN", no_wrap=True)
    begin, end = _span(told)
    for entry in told.entries:
        colour = _COLOURS[who(told, entry)]
        table.add_row(
            _after(_start(entry) - begin),
            _took(entry),
            Text(_bar(entry, begin, end), style=colour),
            Text(who(told, entry), style=colour),
            _what(entry),
            Text(entry.fingerprint, style="dim"),
        )
    out.print(table)
    if told.caller_unavailable:
        out.print(Text(f"The caller's part is missing: {told.caller_unavailable}.", style="yellow"))
    if told.truncated:
        out.print(Text("The oldest model calls were left out.", style="yellow"))


def who(told: ExecutionTimeline, entry: TimelineEntry) -> str:
    """Return whose part of the story an entry is."""
    if entry.step == TimelineStep.TIMELINE_STEP_ENGINE_RUN:
        return "engine"
    if entry.workflow_id != told.execution_id:
        return "caller"
    return Kind.of_id(told.execution_id) or Kind.AGENT


async def _read(execution_id: str) -> ExecutionTimeline:
    async with open_api() as api:
        request = GetExecutionTimelineRequest(id=execution_id)
        return await api.call(api.diagnosis.GetExecutionTimeline, request)


def _write_svg(told: ExecutionTimeline, file: Path) -> None:
    out = Console(
        record=True,
        width=_SVG_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    show(told, out)
    picture = out.export_svg(title=f"stigma execution timeline {told.execution_id}", unique_id="t")
    try:
        # Without the fonts that it would load from elsewhere.
        file.write_text(_FONT_FACE.sub("", picture))
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}", code=Exit.USAGE) from None


def _heading(told: ExecutionTimeline) -> Text:
    heading = Text.assemble(
        (told.execution_id, "bold"),
        f"  {told.definition_id or '(inline)'}  ",
        (told.phase, _phase_colour(told.phase)),
    )
    if told.entries:
        heading.append(f"  from {as_time(told.entries[0].time, timespec='milliseconds')}")
    heading.append(f"\nrequest {told.request_id}")
    if told.HasField("caller"):
        activity = f", activity {told.caller.activity_id}" if told.caller.activity_id else ""
        heading.append(f"\ncaller  {told.caller.workflow_id}{activity}")
    if told.HasField("usage") and told.usage.model_calls:
        usage = told.usage
        cost = f", ${usage.cost_usd:.4f}" if usage.cost_usd else ""
        heading.append(
            f"\nusage   {usage.model_calls} model calls, {usage.input_tokens:,} tokens in, "
            f"{usage.output_tokens:,} out{cost}"
        )
    heading.append("\n")
    return heading


def _what(entry: TimelineEntry) -> Text:
    text = Text(entry.title, style="red" if entry.failed else "")
    notes = [entry.detail] if entry.detail else []
    if entry.attempt > 1:
        notes.append(f"attempt {entry.attempt}")
    if entry.open:
        notes.append("goes on")
    if notes:
        text.append(f"  {', '.join(notes)}", style="yellow" if entry.open else "dim")
    return text


def _phase_colour(phase: str) -> str:
    if phase == "COMPLETED":
        return "green"
    return "red" if phase in {"FAILED", "TIMED_OUT", "CANCELLED"} else "yellow"


def _bar(entry: TimelineEntry, begin: int, end: int) -> str:
    """Return where an entry lies between the first and the last: a point, or a bar."""
    whole = max(end - begin, 1)
    at = min(_BAR * (_start(entry) - begin) // whole, _BAR - 1)
    if entry.open:
        return " " * at + "━" * (_BAR - 1 - at) + "▶"
    if not entry.HasField("duration"):
        return " " * at + "●"
    until = min(_BAR * (_start(entry) + entry.duration.ToNanoseconds() - begin) // whole, _BAR - 1)
    return " " * at + "━" * (until - at + 1)


def _span(told: ExecutionTimeline) -> tuple[int, int]:
    """Return when the first entry begins and the last one ends: now, while one goes on."""
    begin = min((_start(entry) for entry in told.entries), default=0)
    ends = [_start(entry) + entry.duration.ToNanoseconds() for entry in told.entries]
    if any(entry.open for entry in told.entries):
        ends.append(int(datetime.now(UTC).timestamp() * _SECOND))
    return begin, max(ends, default=0)


def _start(entry: TimelineEntry) -> int:
    return entry.time.ToNanoseconds()


def _after(nanoseconds: int) -> str:
    return f"+{_told(nanoseconds)}"


def _took(entry: TimelineEntry) -> str:
    return _told(entry.duration.ToNanoseconds()) if entry.HasField("duration") else ""


def _told(nanoseconds: int) -> str:
    """Return a duration for people, as short as it stays clear."""
    seconds = nanoseconds / _SECOND
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
