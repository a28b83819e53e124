"""Output of commands: for people, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table


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
    # A pipe has no width: tables must not be cut for the program that reads them.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON value, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """Print one JSON value on a line, for streams."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print one line, unstyled."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without lines. A column whose name begins with ">" is of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, name in enumerate(columns):
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        # The first names the row, and is copied: a narrow terminal folds the others.
        table.add_column(
            name.removeprefix(">"), justify=justify, overflow="fold", no_wrap=index == 0
        )
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_error(messages: Iterable[str], hint: str = "") -> None:
    """Print what went wrong, a line each, and what to do about it, on stderr."""
    sys.stderr.writelines(f"error: {message}\n" for message in messages)
    if hint:
        sys.stderr.write(f"hint: {hint}\n")


def as_time(time: Timestamp, *, timespec: str = "seconds") -> str:
    """Return a time for people, in UTC: no longer than they read."""
    return f"{time.ToDatetime().isoformat(timespec=timespec)}Z"


def as_json(message: Message) -> Any:
    """Return a message as JSON, with the protocol's own JSON names."""
    return json_format.MessageToDict(message)
