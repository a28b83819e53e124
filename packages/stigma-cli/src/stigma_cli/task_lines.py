"""Tasks of a run as its trace has them: their nesting, iterations and order of ending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from stigma_cli.terminal_text import escape_line

Tasks: TypeAlias = Sequence[Mapping[str, Any]]

RUNNING = "running"


@dataclass(frozen=True)
class TaskLine:
    """One task of a trace.

    Attributes:
        key: the same at every poll: pointer, start, and count among those with the same start.
        depth: how many tasks it is inside.
        label: its name for people, indented, with its iteration and attempt from the second on.
        status: `running`, `completed`, `faulted`, …
        has_children: whether tasks inside it are in the trace.
        took: how long it took, for people; "" while it runs.
        ended: when, as ISO 8601; "" while it runs.
        execution_id: the agent or workflow execution that it called, or "".
    """

    key: tuple[str, str, int]
    depth: int
    label: str
    status: str
    has_children: bool
    took: str
    ended: str
    execution_id: str


def task_lines(tasks: Tasks) -> list[TaskLine]:
    """Return the tasks of a trace in its order: by their starts."""
    pointers = {str(task["pointer"]) for task in tasks}
    parents = {each for pointer in pointers for each in _ancestors(pointer, pointers)}
    depths = {pointer: len(_ancestors(pointer, pointers)) for pointer in pointers}
    iterations = _iterations(tasks)
    starts: Counter[tuple[str, str]] = Counter()
    lines = []
    for task, iteration in zip(tasks, iterations, strict=True):
        pointer, started = str(task["pointer"]), str(task["started"] or "")
        starts[pointer, started] += 1
        depth = depths[pointer]
        lines.append(
            TaskLine(
                key=(pointer, started, starts[pointer, started]),
                depth=depth,
                label="  " * depth + _label(task, iteration),
                status=str(task["status"]),
                has_children=pointer in parents,
                took=_took(task),
                ended=str(task["ended"] or ""),
                execution_id=str(task.get("executionId", "")),
            )
        )
    return lines


def in_order(lines: Sequence[TaskLine]) -> list[TaskLine]:
    """Return starts and ends in the order in which they happened, a line each.

    Times alone do not tell: all within one of Temporal's workflow tasks are the same. A task ends
    after what is inside it, and before the next one that is not. The start of a task that has ended
    is left out, unless others are inside it.
    """
    happened: list[TaskLine] = []
    opened: list[TaskLine] = []
    for line in lines:
        pointer, started, _ = line.key
        closing = [
            each
            for each in opened
            if "" != each.ended <= started and not pointer.startswith(f"{each.key[0]}/")
        ]
        happened += sorted(closing, key=_by_end)
        opened = [each for each in opened if each not in closing]
        opened.append(line)
        if not line.ended or line.has_children:
            happened.append(replace(line, status=RUNNING, took=""))
    return happened + sorted((line for line in opened if line.ended), key=_by_end)


def _by_end(line: TaskLine) -> tuple[str, int]:
    return line.ended, -line.depth


def _ancestors(pointer: str, pointers: set[str]) -> list[str]:
    """Return the tasks that a task is inside: the prefixes of its pointer that are tasks."""
    cuts = [at for at, character in enumerate(pointer) if character == "/" and at]
    return [pointer[:at] for at in cuts if pointer[:at] in pointers]


def _iterations(tasks: Tasks) -> list[int]:
    """Return which repetition each task is within its parent's run; an attempt is none."""
    counts: dict[str, int] = {}
    attempts: dict[str, int] = {}
    numbers = []
    for task in tasks:
        pointer, attempt = str(task["pointer"]), int(task["attempt"])
        for inside in [each for each in counts if each.startswith(f"{pointer}/")]:
            del counts[inside]
        again = attempts.get(pointer) != attempt and attempt > 1
        counts[pointer] = counts.get(pointer, 0) + (0 if again and pointer in counts else 1)
        attempts[pointer] = attempt
        numbers.append(counts[pointer])
    return numbers


def _label(task: Mapping[str, Any], iteration: int) -> str:
    label = escape_line(str(task["name"]))
    if iteration > 1:
        label += f" [{iteration}]"
    if int(task["attempt"]) > 1:
        label += f" (attempt {task['attempt']})"
    return label


def _took(task: Mapping[str, Any]) -> str:
    if not task["started"] or not task["ended"]:
        return ""
    started, ended = (datetime.fromisoformat(task[each]) for each in ("started", "ended"))
    return f"{(ended - started).total_seconds():.2f} s"
