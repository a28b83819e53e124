"""Output of commands: for people, or as JSON. All that a command prints goes through here."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from stigma_cli.errors import CliError
from stigma_cli.tables import table_lines
from stigma_cli.terminal_text import escape_json, escape_line, escape_text


class Format(StrEnum):
    """Form of a command's output."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        metavar="text|json",
        envvar="STIGMA_OUTPUT",
        help="Print for people, or as JSON.",
    ),
]


def console() -> Console:
    """Return a console on stdout: colours and width as the terminal has them."""
    # A pipe has no width: lines must not be cut for the program that reads them. No text is markup.
    return Console(
        highlight=False,
        markup=False,
        emoji=False,
        width=None if sys.stdout.isatty() else 160,
        soft_wrap=True,
    )


def print_rich(shown: RenderableType, out: Console) -> None:
    """Print what rich draws; texts in it are to be escaped before."""
    with out.capture() as captured:
        out.print(shown)
    _write(sys.stdout, captured.get())


def print_json(value: Any) -> None:
    """Print one JSON value, indented."""
    _write_json(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print one JSON value on a line, for streams."""
    _write_json(json.dumps(value, ensure_ascii=False))


def print_line(text: str) -> None:
    """Print text and a line end, unstyled."""
    _write(sys.stdout, f"{escape_text(text)}\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without lines, as `tables.table_lines` makes it."""
    width = console().width if sys.stdout.isatty() else None
    _write(sys.stdout, "".join(f"{line}\n" for line in table_lines(columns, rows, width)))


def print_note(text: str) -> None:
    """Print a line about the command's work on stderr, apart from its output."""
    with suppress(CliError):
        _write(sys.stderr, f"stigma: {escape_line(text)}\n")


def print_details(lines: Iterable[str]) -> None:
    """Print what a person is to read before an answer, on stderr: apart from the output."""
    _write(sys.stderr, "".join(f"{escape_text(line)}\n" for line in lines))


def print_error(messages: Iterable[str], hint: str = "") -> None:
    """Print what went wrong, a line each, and what to do about it, on stderr."""
    lines = [f"error: {escape_line(message)}\n" for message in messages]
    if hint:
        lines.append(f"hint: {escape_text(hint)}\n")
    with suppress(CliError):  # nobody can be told
        _write(sys.stderr, "".join(lines))


def as_time(time: Timestamp, *, timespec: str = "seconds") -> str:
    """Return a time for people, in UTC: no longer than they read."""
    return f"{time.ToDatetime().isoformat(timespec=timespec)}Z"


def as_age(time: Timestamp) -> str:
    """Return how long ago a time was, in one unit: "45s", "5m", "3h", "12d"."""
    seconds = max(int((datetime.now(UTC) - time.ToDatetime(UTC)).total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def as_duration(duration: timedelta) -> str:
    """Return a duration for people, exact to the second, or below it to the millisecond.

    For instance "3 days", "1 h 30 min", "5 ms".
    """
    if timedelta() < duration < timedelta(seconds=1):
        return f"{max(round(duration / timedelta(milliseconds=1)), 1)} ms"
    seconds = round(duration.total_seconds())
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    minutes, seconds = divmod(seconds, 60)
    parts = [f"{counted(days, 'day')}"] if days else []
    units = ((hours, "h"), (minutes, "min"), (seconds, "s"))
    parts += [f"{value} {unit}" for value, unit in units if value]
    return " ".join(parts) or "0 s"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 model call", "2 model calls"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def as_json(message: Message) -> Any:
    """Return a message as JSON, with the protocol's own JSON names."""
    return json_format.MessageToDict(message)


def _write_json(text: str) -> None:
    """Write JSON text; in an encoding that lacks its characters, with all of them escaped."""
    shown = escape_json(text)
    try:
        shown.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        shown = "".join(_ascii_json(each) for each in shown)
    _write(sys.stdout, f"{shown}\n")


def _ascii_json(character: str) -> str:
    return character if character.isascii() else json.dumps(character)[1:-1]


def _write(stream: TextIO, text: str) -> None:
    """Write and flush.

    Raises:
        CliError: the stream takes no more, as a full disk does.
    """
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever reads has what they wanted
            raise
        raise CliError(f"the output cannot be written: {error.strerror}") from None
