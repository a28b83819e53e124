"""The state of a run: branches, each a stack of frames."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Any

from zigflow_worker.expressions import JSON
from zigflow_worker.program import Block, Step


class Frame:
    """One task that has begun: its data, and what is left of its current block.

    Most tasks never change the defaults: on the class, they cost a loop's iteration nothing.
    """

    output: JSON = None
    """Output before `output.as`."""
    deadline: float | None = None
    block: Block | None = None
    index = 0
    """The next task of the block."""
    data: JSON = None
    """That task's raw input: the output of the one before."""
    target: int | None = None
    """Where the flow goes after this task, when not where its `then` says."""
    state: Any = None
    """What the task's kind keeps; plain JSON once dumped."""
    details: JSON = None
    """What the task's kind adds to `$task`."""
    entry: list[JSON] | None = None
    """This task's line in the trace."""

    def __init__(
        self, step: Step, raw: JSON, variables: Mapping[str, JSON], attempt: int, started: float
    ) -> None:
        self.step = step
        self.raw = raw
        """Input before `input.from`."""
        self.input = raw
        """Input after `input.from`."""
        self.variables = variables
        """What the document defines around this task: loop items, caught errors."""
        self.attempt = attempt
        """Counts from 1, up with each retry of a `try` around this task."""
        self.started = started
        """Unix time, seconds."""

    def begin_block(self, block: Block, data: JSON) -> None:
        """Run a block next."""
        self.block = block
        self.index = 0
        self.data = data


class BranchState(Enum):
    """What a branch is about to do."""

    READY = 1
    WAITING = 2
    ENDED = 3


class Branch:
    """One line of execution: the main one, or a branch of a fork."""

    __slots__ = ("alarm", "effect", "index", "parent", "queued", "stack", "state")

    def __init__(self, parent: Branch | None = None, index: int = 0) -> None:
        self.parent = parent
        """The branch whose top frame is the fork this one belongs to."""
        self.index = index
        self.stack: list[Frame] = []
        self.state = BranchState.READY
        self.queued = False
        self.effect: asyncio.Task[JSON] | None = None
        """What this branch waits for, besides time."""
        self.alarm: tuple[float, asyncio.TimerHandle] | None = None
