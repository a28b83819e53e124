"""What is printed for people."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from stigma_cli import output
from stigma_cli.tables import table_lines
from stigma_cli.terminal_text import escape_line


def test_times_are_as_short_as_people_read_them() -> None:
    time = Timestamp(seconds=1, nanos=234_567_890)
    assert output.as_time(time) == "1970-01-01T00:00:01Z"
    assert output.as_time(time, timespec="milliseconds") == "1970-01-01T00:00:01.234Z"


NASTY = "a\x1b]0;title\x07\x9b2J\u202eb\r[/x] [bold]"
SHOWN = "a\\x1b]0;title\\x07\\x9b2J\\u202eb\\x0d[/x] [bold]"


def test_text_of_others_does_not_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_line(f"{NASTY}\nnext\tline")
    assert capsys.readouterr().out == f"{SHOWN}\nnext\tline\n"
    output.print_table(("NAME", "LABELS"), [("x", f"{NASTY}\n")])
    assert capsys.readouterr().out.splitlines()[-1] == f"x     {SHOWN}\\n"
    output.print_error([f"{NASTY}\n2"], NASTY)
    assert capsys.readouterr().err == f"error: {SHOWN}\\n2\nhint: {SHOWN}\n"


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": f"{NASTY}\nnext \ud800 é"}
    output.print_json(value)
    shown = capsys.readouterr().out
    assert not any(unsafe in shown for unsafe in ("\x1b", "\x9b", "\u202e"))
    assert "é" in shown
    assert json.loads(shown) == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\ud83d", "\\ud83d"),
        ("👩\u200d💻 שלום", "👩\u200d💻 שלום"),
        ("\u2028\x00\x7f", "\\u2028\\x00\\x7f"),
    ],
)
def test_only_what_is_unsafe_is_escaped(text: str, line: str) -> None:
    assert escape_line(text) == line


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_table_never_folds_a_cell(width: int) -> None:
    ident = f"agent-{'0' * 32}"
    columns = ("ID", "~AGENT", "PHASE", ">AGE", ">TOOK")
    rows = [(ident, "security-reviewer-of-the-whole-department@12", "COMPLETED", "12d", "1.5 s")]
    lines = table_lines(columns, rows, width)
    if width == 80:
        assert [len(lines), max(map(len, lines))] == [3, 80]
        assert "security-rev" in lines[-1]
        assert "…" in lines[-1]
    else:
        assert lines == [
            f"id: {ident}",
            "agent: security-reviewer-of-the-whole-department@12",
            "phase: COMPLETED",
            "age: 12d",
            "took: 1.5 s",
        ]


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(days=3), "3 days"),
        (timedelta(days=1, hours=2), "1 day 2 h"),
        (timedelta(minutes=90), "1 h 30 min"),
        (timedelta(), "0 s"),
        (timedelta(milliseconds=1), "1 ms"),
    ],
)
def test_durations_are_for_people(duration: timedelta, text: str) -> None:
    assert output.as_duration(duration) == text


def test_counts_agree_with_their_nouns() -> None:
    assert [output.counted(n, "model call") for n in (0, 1, 2)] == [
        "0 model calls",
        "1 model call",
        "2 model calls",
    ]
