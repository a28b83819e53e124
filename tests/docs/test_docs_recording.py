"""The script that records a terminal, and what it recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT

RECORDING = ROOT / "docs" / "recording"


def record(file: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RECORDING / "record.py", file, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def read(file: Path) -> tuple[dict[str, object], str]:
    header, *events = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert [event[1] for event in events] == ["o"] * len(events)
    assert [event[0] for event in events] == sorted(event[0] for event in events)
    return header, "".join(event[2] for event in events)


def test_a_command_is_recorded_as_in_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "it.cast"
    done = record(file, "sh", "-c", 'test -t 1 && stty size && printf "grün\\n"; exit 3')
    assert done.returncode == 3
    header, text = read(file)
    assert (header["version"], header["width"], header["height"]) == (2, 110, 32)
    assert text == "32 110\r\ngrün\r\n"
    assert "grün" in done.stdout


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    assert record(tmp_path / "it.cast", "/no/such/program").returncode == 127
    assert record(tmp_path / "it.cast").returncode == 1


def test_the_recorded_demo_shows_the_whole_example() -> None:
    header, text = read(RECORDING / "demo.cast")
    assert str(header["title"]).endswith("stigma demo")
    for seen in (
        "security-reviewer@1 applied",
        "takes its token",
        "delivered",
        "the caller goes on",
    ):
        assert seen in text


def test_the_recorded_kill_shows_a_call_that_survives_it() -> None:
    header, text = read(RECORDING / "demo-kill.cast")
    assert str(header["title"]).endswith("stigma demo --kill")
    for seen in (
        "ai_worker was killed",
        "stigma_orchestrator was killed",
        "is ready again",
        "attempt 2",
        "the caller goes on",
    ):
        assert seen in text
