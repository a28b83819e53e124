"""Tasks of a run as `stigma run --watch` shows them."""

from __future__ import annotations

from typing import Any

import pytest

from stigma_cli.progress import new_lines
from stigma_cli.task_lines import task_lines

TRY = "/do/0/attempt"
LOOP = "/do/1/each"


def task(pointer: str, started: int, ended: int | None = None, attempt: int = 1) -> dict[str, Any]:
    return {
        "pointer": pointer,
        "name": pointer.rpartition("/")[2],
        "status": "running" if ended is None else "completed",
        "started": f"2026-01-01T00:00:{started:02}.000Z",
        "ended": None if ended is None else f"2026-01-01T00:00:{ended:02}.000Z",
        "attempt": attempt,
    }


def test_children_of_every_kind_are_indented_once() -> None:
    tasks = [
        task(TRY, 0, 4),
        task(f"{TRY}/try/0/risky", 0, 1),
        task(f"{TRY}/catch/do/0/mend", 1, 4),
        task(f"{TRY}/catch/do/0/mend/fork/branches/1/b", 1, 3),
    ]
    assert [line.label for line in task_lines(tasks)] == [
        "attempt",
        "  risky",
        "  mend",
        "    b",
    ]


def test_iterations_and_attempts_are_numbered() -> None:
    inner = f"{LOOP}/do/0/step"
    tasks = [
        *(task(LOOP, 0), task(inner, 0, 0), task(f"{inner}/do/0/in", 0, 0)),
        *(task(inner, 0, 1), task(f"{inner}/do/0/in", 0, 1)),
        *(task(TRY, 1), task(f"{TRY}/try/0/risky", 1, 1), task(f"{TRY}/try/0/risky", 2, 2, 2)),
    ]
    assert [line.label.strip() for line in task_lines(tasks)] == [
        *("each", "step", "in", "step [2]", "in"),
        *("attempt", "risky", "risky (attempt 2)"),
    ]


@pytest.mark.parametrize("polls", [1, 2])
def test_a_task_ends_after_what_is_inside_it(polls: int) -> None:
    ended = [task(LOOP, 0, 2), task(f"{LOOP}/do/0/a", 0, 1), task(f"{LOOP}/do/0/a", 1, 2)]
    printed: set[Any] = set()
    shown = []
    if polls == 2:
        open_yet = [task(LOOP, 0), task(f"{LOOP}/do/0/a", 0, 1)]
        shown += new_lines(task_lines(open_yet), printed)
    shown += new_lines(task_lines(ended), printed)
    assert [(line.label, line.status) for line in shown] == [
        ("each", "running"),
        ("  a", "completed"),
        ("  a [2]", "completed"),
        ("each", "completed"),
    ]
    assert new_lines(task_lines(ended), printed) == []


def test_tasks_of_one_instant_are_in_order() -> None:
    """All within one of Temporal's workflow tasks have the same time."""
    tasks = [
        *(task(TRY, 0, 0), task(f"{TRY}/try/0/risky", 0, 0), task(f"{TRY}/catch/do/0/mend", 0, 0)),
        *(task(LOOP, 0, 0), task(f"{LOOP}/do/0/a", 0, 0), task(f"{LOOP}/do/0/a", 0, 0)),
        task("/do/2/last", 0),
    ]
    assert [(line.label, line.status) for line in new_lines(task_lines(tasks), set())] == [
        ("attempt", "running"),
        ("  risky", "completed"),
        ("  mend", "completed"),
        ("attempt", "completed"),
        ("each", "running"),
        ("  a", "completed"),
        ("  a [2]", "completed"),
        ("each", "completed"),
        ("last", "running"),
    ]


def test_iterations_that_start_at_one_instant_are_told_apart() -> None:
    tasks = [task(LOOP, 0, 0), *(task(f"{LOOP}/do/0/a", 0, 0) for _ in range(3))]
    assert len(new_lines(task_lines(tasks), set())) == 5
