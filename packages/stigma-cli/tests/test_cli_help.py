"""What `--help` says, of the command and of every command below it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from stigma_cli.app import COMMANDS as PLACES
from stigma_cli.app import app
from stigma_cli.errors import Exit
from stigma_cli.lazy_commands import CommandPlace, LazyCommand, loaded

QUIET = """\
document: {dsl: '1.0.3', namespace: test, name: quiet, version: '1.0.0'}
do: [{set: {set: {x: 1}}}]
"""
HEAVY = ("temporalio", "grpc", "ruamel", "stigma_client", "zigflow_worker")


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = loaded(command)
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *path, name)


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_whole(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="stigma")
    assert shown.exit_code == Exit.OK
    assert shown.output.startswith(f"Usage: {' '.join(['stigma', *path])} ")
    assert "..." not in shown.output.partition("\n")[2], "a summary is cut off"
    assert max(map(len, shown.output.splitlines())) <= 80
    for each in COMMANDS[path].params:
        assert getattr(each, "help", ""), f"{each.name} is not explained"


def test_the_exit_codes_are_documented() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "STIGMA_API_ADDRESS" in shown
    codes = " ".join(shown.split()).partition("Exit codes: ")[2]
    for code in [*map(int, Exit), 130]:
        assert f"{code} " in codes


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_the_summary_of_a_command_is_its_own(place: CommandPlace) -> None:
    assert LazyCommand(place).load().get_short_help_str(200) == place.summary


def imported(arguments: list[str], modules: tuple[str, ...]) -> tuple[int, list[str]]:
    """Run a command in a process of its own; return its exit code, and which of these it needed."""
    program = f"""\
import os, sys
from stigma_cli.app import app
try:
    app({arguments}, prog_name="stigma")
except SystemExit as ended:
    print("imported:", *sorted({{*sys.modules}} & {{*{modules}}}), flush=True)
    # As the command leaves: in Python's own way out, threads of the Temporal SDK may abort.
    os._exit(int(ended.code or 0))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    _, label, found = done.stdout.rpartition("imported:")
    assert label, done.stderr
    return done.returncode, found.split()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["init", "--help"], ["nothing"]])
def test_what_needs_no_server_imports_no_client(arguments: list[str]) -> None:
    code, found = imported(arguments, HEAVY)
    assert code == (Exit.USAGE if arguments == ["nothing"] else Exit.OK)
    assert found == []


def test_a_check_of_a_document_imports_yaml_only(tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(QUIET)
    assert imported(["validate", str(file)], HEAVY) == (Exit.OK, ["ruamel"])


@pytest.mark.parametrize("name", ["agent", "workflow", "execution", "inputs", "session"])
def test_what_talks_to_the_api_imports_no_client_of_temporal(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIGMA_API_ADDRESS", "127.0.0.1:1")
    code, found = imported([name, "list"], HEAVY)
    assert code == Exit.UNREACHABLE
    assert set(found) == {"grpc", "ruamel", "stigma_client"}


def test_a_run_imports_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(QUIET)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    worker = ("temporalio.worker", "stigma_client.plugin")
    assert imported(["run", str(file)], worker) == (Exit.UNREACHABLE, [])


def test_new_projects_are_written_without_a_client(tmp_path: Path) -> None:
    assert imported(["init", str(tmp_path / "desk")], HEAVY) == (Exit.OK, [])
