"""Runs of documents whose task queue no engine polls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stigma_cli import absent_engine
from stigma_cli.errors import CliError, Exit
from stigma_cli.pollers import QueueState, find_queue_state
from tests.stack.definitions import RESTING, document_file

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Stigma
    from tests.stack.stack import Stack

NOTE = (
    "stigma: it makes no progress: no worker polls task queue {}: start zigflow_worker "
    "(`stigma doctor` shows more)"
)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[QueueState]:
    """The states of queues that commands find; Temporal does not tell the first time."""
    found: list[QueueState] = []
    failures = iter([CliError("Temporal is busy")])

    async def find(*given: object) -> QueueState:
        if failure := next(failures, None):
            raise failure
        found.append(await find_queue_state(*given))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(absent_engine, "_LOOKS", (0.05,))
    monkeypatch.setattr(absent_engine, "find_queue_state", find)
    return found


async def ran(stigma: Stigma, stack: Stack, file: Path, *more: str, **env: str) -> list[str]:
    """Run a document for a while; return its notes but the first, which names the run."""
    done = await stigma("run", file, "--timeout", "1s", *more, **env)
    assert done.exit_code == Exit.UNREACHABLE, done.output
    notes: list[str]
    started, *notes, _, hint = done.stderr.splitlines()
    assert hint.startswith("hint: the run goes on")
    await stack.client.get_workflow_handle(started.split()[2]).terminate()
    return notes


async def test_a_run_without_an_engine_says_so_once(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path, looks: list[QueueState]
) -> None:
    file, nobody = document_file(tmp_path, RESTING), env | {"STIGMA_TASK_QUEUE_PREFIX": "nobody-"}
    for more in ((), ("--watch",)):
        notes = await ran(stigma, stack, file, *more, **nobody)
        assert notes == [NOTE.format("nobody-zigflow")]
    assert [each.is_served for each in looks] == [False, False]


async def test_a_run_with_an_engine_says_nothing(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path, looks: list[QueueState]
) -> None:
    assert await ran(stigma, stack, document_file(tmp_path, RESTING), **env) == []
    assert {each.is_served for each in looks} == {True}
