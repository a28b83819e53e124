"""Variables that an expression sees, and targets of a flow directive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum


class Variables(Enum):
    """The engine's variables an expression sees, by where it is written."""

    BEFORE_THE_RUN = ()
    WORKFLOW_INPUT = ("workflow", "runtime")
    WORKFLOW_OUTPUT = ("context", "workflow", "runtime")
    TASK_START = ("context", "task", "workflow", "runtime")
    TASK = ("context", "input", "task", "workflow", "runtime")
    TASK_EXPORT = ("context", "input", "output", "task", "workflow", "runtime")


RESERVED = frozenset(
    ("context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime")
)


UNKNOWN = ""
"""Name of a variable whose real name is wrong: expressions may mean it by any name."""


@dataclass(frozen=True, slots=True)
class CompileScope:
    """The surroundings of a task: variables its document defines, and its block."""

    variables: frozenset[str] = frozenset()
    index: int = 0
    names: Mapping[str, int] | None = None
    function: str | None = None
    """The function that the task is in."""
    is_extended: bool = True
    """Extensions apply."""
    exit_offset: int = 0
    """Added to the index that `exit` leads to: an extension tells it from the block's end."""

    def defining(self, *variables: str) -> CompileScope:
        """Return this scope with more variables."""
        return replace(self, variables=self.variables | set(variables))
