"""What is printed for people."""

from __future__ import annotations

from io import StringIO

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from stigma_cli import output


def test_a_narrow_terminal_keeps_ids_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(file=shown, width=80))
    ident = f"agent-{'0' * 32}"
    time = "2026-01-01T00:00:00Z"
    output.print_table(
        ("ID", "AGENT", "STARTED", ">MS"), [(ident, "security-reviewer@12", time, "7")]
    )
    lines = shown.getvalue().splitlines()
    assert any(line.startswith(f"{ident} ") for line in lines)
    assert max(map(len, lines)) <= 80


def test_times_are_as_short_as_people_read_them() -> None:
    time = Timestamp(seconds=1, nanos=234_567_890)
    assert output.as_time(time) == "1970-01-01T00:00:01Z"
    assert output.as_time(time, timespec="milliseconds") == "1970-01-01T00:00:01.234Z"
