"""`stigma execution timeline`: the steps of one execution and its caller, on a terminal."""

from __future__ import annotations

import asyncio
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from stigma.contracts.durations import format_duration
from stigma.contracts.executions import Kind
from stigma.diagnosis.v1.diagnosis_service_pb2 import (
    ExecutionTimeline,
    GetExecutionTimelineRequest,
    TimelineEntry,
    TimelineStep,
)
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import usage_text
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import (
    Format,
    Output,
    as_json,
    as_time,
    console,
    print_json,
    print_rich,
)
from stigma_cli.tables import block_lines, table_cells
from stigma_cli.terminal_text import escape_line

# Lengths of the bars, in cells; the longest for which there is room.
_BARS = (16, 8)
_LEAST_WHAT = 24
_SVG_WIDTH = 120
_COLOURS = {
    "caller": "cyan",
    "agent": "magenta",
    "workflow": "magenta",
    "engine": "blue",
    "tool": "green",
    "people": "yellow",
}
_OF_THE_ENGINE = frozenset(
    {
        TimelineStep.TIMELINE_STEP_ENGINE_RUN,
        TimelineStep.TIMELINE_STEP_DOCUMENT_CALL,
        TimelineStep.TIMELINE_STEP_DOCUMENT_TIMER,
    }
)
_OF_PEOPLE = frozenset(
    {TimelineStep.TIMELINE_STEP_INPUT_REQUIRED, TimelineStep.TIMELINE_STEP_MESSAGE_RECEIVED}
)
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
    shown = asyncio.run(_read(execution))
    if svg is not None:
        _write_svg(shown, svg)
    if output is Format.JSON:
        print_json(as_json(shown))
    elif svg is None:
        print_timeline(shown)


def print_timeline(shown: ExecutionTimeline) -> None:
    """Print a timeline."""
    out = console()
    print_rich(draw(shown, out.width if out.is_terminal else None), out)


def draw(shown: ExecutionTimeline, width: int | None) -> Text:
    """Return a timeline to print: a line an entry, with when, for how long, whose, and what.

    Where `width` cells have no room for a table, an entry is a line for each of these.
    """
    lines = [*_heading(shown, width), Text(), *_entries(shown, width)]
    if shown.caller_unavailable:
        missing = f"The caller's part is missing: {escape_line(shown.caller_unavailable)}."
        lines.append(Text(missing, style="yellow"))
    if shown.truncated:
        lines.append(Text("The oldest calls were left out.", style="yellow"))
    return Text("\n").join(lines)


def who(shown: ExecutionTimeline, entry: TimelineEntry) -> str:
    """Return whose step an entry is: the caller's, the execution's, the engine's, and so on."""
    if entry.step in _OF_PEOPLE:
        return "people"
    if entry.step == TimelineStep.TIMELINE_STEP_TOOL_CALL:
        return "tool"
    if entry.step in _OF_THE_ENGINE:
        return "engine"
    is_own = entry.step == TimelineStep.TIMELINE_STEP_RUNTIME
    if entry.workflow_id != shown.execution_id and not is_own:
        return "caller"
    return Kind.of_id(shown.execution_id) or Kind.AGENT


async def get_timeline(api: Api, execution_id: str) -> ExecutionTimeline:
    """Return the timeline of an execution.

    Raises:
        CliError: it cannot be read.
    """
    request = GetExecutionTimelineRequest(id=execution_id)
    return await api.call_long(api.diagnosis.GetExecutionTimeline, request)


async def _read(execution_id: str) -> ExecutionTimeline:
    async with open_api() as api:
        return await get_timeline(api, execution_id)


def _write_svg(shown: ExecutionTimeline, file: Path) -> None:
    out = Console(
        record=True,
        width=_SVG_WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
    )
    out.print(draw(shown, _SVG_WIDTH), soft_wrap=True)
    picture = out.export_svg(title=f"stigma execution timeline {shown.execution_id}", unique_id="t")
    try:
        # Without the fonts that it would load from elsewhere.
        file.write_text(_FONT_FACE.sub("", picture))
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror}", code=Exit.USAGE) from None


def _heading(shown: ExecutionTimeline, width: int | None) -> list[Text]:
    first = [
        Text(shown.execution_id, style="bold"),
        Text(escape_line(shown.definition_id) or "(inline)"),
        Text(shown.phase, style=_phase_colour(shown.phase)),
    ]
    if shown.entries:
        first.append(Text(f"from {as_time(shown.entries[0].time, timespec='milliseconds')}"))
    lines = first[:1]
    for part in first[1:]:
        line = Text("  ").join([lines[-1], part])
        if width is None or line.cell_len <= width:
            lines[-1] = line
        else:
            lines.append(part)
    lines.append(Text(f"request {escape_line(shown.request_id)}"))
    if shown.HasField("caller"):
        activity = f", activity {shown.caller.activity_id}" if shown.caller.activity_id else ""
        lines.append(Text(f"caller  {escape_line(shown.caller.workflow_id + activity)}"))
    if shown.HasField("usage") and shown.usage.model_calls:
        lines.append(Text(f"usage   {usage_text(shown.usage)}"))
    return lines


def _entries(shown: ExecutionTimeline, width: int | None) -> list[Text]:
    """Return the table of entries, with bars as long as there is room for them."""
    columns = (">AT", ">TOOK", "WHO", "~WHAT", "TOKEN")
    begin, end = _span(shown)
    rows = [
        (
            _offset_text(_start(entry) - begin),
            _duration_text(entry),
            who(shown, entry),
            "  ".join(each for each in (entry.title, _notes(entry)) if each),
            entry.fingerprint,
        )
        for entry in shown.entries
    ]
    if not rows:
        return []
    natural = table_cells(columns, rows, None, gap=1)
    room = None if width is None else width - sum(map(cell_len, natural[0])) - len(columns)
    bar = next((size for size in _BARS if room is None or size <= room), 0)
    cells = natural if bar else table_cells(columns, rows, width, gap=1, least=_LEAST_WHAT)
    if not cells:
        return [Text(line) for line in block_lines(columns, rows)]
    lines = [Text(" ".join(cells[0][:2] + [" " * bar] * bool(bar) + cells[0][2:]))]
    for entry, (at, took, whose, what, token) in zip(shown.entries, cells[2:], strict=True):
        colour = _COLOURS[who(shown, entry)]
        parts = [Text(at), Text(took), Text(whose, style=colour), _what(entry, what)]
        if bar:
            parts.insert(2, Text(_bar(entry, begin, end, bar).ljust(bar), style=colour))
        lines.append(Text(" ").join([*parts, Text(token, style="dim")]))
    for line in lines:
        line.rstrip()
    return lines


def _notes(entry: TimelineEntry) -> str:
    notes = [entry.detail] if entry.detail else []
    attempt = f"attempt {entry.attempt}"
    if entry.open and attempt in entry.detail:
        return entry.detail  # it says whether the attempt is under way
    if entry.attempt > 1:
        notes.append(attempt)
    if entry.open:
        notes.append("goes on")
    return ", ".join(notes)


def _what(entry: TimelineEntry, cell: str) -> Text:
    text = Text(cell)
    title = len(escape_line(entry.title))
    text.stylize("red" if entry.failed else "", 0, title)
    text.stylize("yellow" if entry.open else "dim", title)
    return text


def _phase_colour(phase: str) -> str:
    if phase == "COMPLETED":
        return "green"
    return "red" if phase in {"FAILED", "TIMED_OUT", "CANCELLED"} else "yellow"


def _bar(entry: TimelineEntry, begin: int, end: int, size: int) -> str:
    """Return where an entry lies between the first and the last: a point, or a bar."""
    whole = max(end - begin, 1)
    at = min(size * (_start(entry) - begin) // whole, size - 1)
    if entry.open:
        return " " * at + "━" * (size - 1 - at) + "▶"
    if not entry.HasField("duration"):
        return " " * at + "●"
    until = min(size * (_start(entry) + entry.duration.ToNanoseconds() - begin) // whole, size - 1)
    return " " * at + "━" * (until - at + 1)


def _span(shown: ExecutionTimeline) -> tuple[int, int]:
    """Return the start of the first entry and the end of the last one: now, while one is open."""
    begin = min((_start(entry) for entry in shown.entries), default=0)
    ends = [_start(entry) + entry.duration.ToNanoseconds() for entry in shown.entries]
    if any(entry.open for entry in shown.entries):
        ends.append(int(datetime.now(UTC).timestamp() * _SECOND))
    return begin, max(ends, default=0)


def _start(entry: TimelineEntry) -> int:
    return entry.time.ToNanoseconds()


def _offset_text(nanoseconds: int) -> str:
    return f"+{format_duration(nanoseconds / _SECOND)}"


def _duration_text(entry: TimelineEntry) -> str:
    if not entry.HasField("duration"):
        return ""
    return format_duration(entry.duration.ToNanoseconds() / _SECOND)
