"""A compiled document, and the state of its runs: branches, each a stack of frames.

Programs are pure, immutable and shared by all their runs. Operations reach the run they work on
through `Run`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeAlias

from typing_extensions import override

from stigma.contracts.engine_calls import DeferredValue
from stigma.contracts.engine_summaries import TimerUse, Tries
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import NO_RULES, DurationFormula, Formula, Rules
from zigflow_worker.program.pool import PoolReader, PoolWriter

END = -1
"""Target of the directive `end`. Other targets are indexes; past the last task is `exit`."""


class Operation(ABC):
    """The action of a task, compiled. It has no state: frames have it."""

    has_branches: ClassVar[bool] = False
    """True where frames have branches: those are dumped then, in place of the frame's state."""

    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:  # noqa: B027
        """Begin: set the frame's state or first block. `proceed` follows."""

    @abstractmethod
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        """Continue when no task of the frame's block is left, or the branch was woken.

        It completes the task, sets a block, or makes the branch wait. It may be called again at
        any time, in another run too, and must find all it needs in the frame.
        """

    def branch_ended(self, run: Run, frame: Frame, child: Branch, output: JSON) -> None:  # noqa: B027
        """Take the output of one of the frame's branches. `proceed` follows."""

    def catch(
        self,
        run: Run,  # noqa: ARG002
        branch: Branch,  # noqa: ARG002
        frame: Frame,  # noqa: ARG002
        problem: Mapping[str, JSON],  # noqa: ARG002
    ) -> bool:
        """Handle an error from inside the task; False passes it on."""
        return False

    def tries(self, frame: Frame) -> Tries | None:  # noqa: ARG002
        """Return which try of the tasks inside is under way; None: they are tried once."""
        return None

    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:  # noqa: ARG002
        """Return the frame's state as plain JSON; values of the run go into the pool."""
        state: JSON = frame.state
        return state

    def load(self, frame: Frame, state: JSON, pool: PoolReader) -> None:  # noqa: ARG002
        """Restore what `dump` returned; the frame has its branches."""
        frame.state = state


class InlineOperation(Operation):
    """An operation done in one go, without a place on the stack."""

    formula: Formula | None = None
    """All there is to it, where an expression or template makes its raw output."""

    @abstractmethod
    def evaluate(self, run: Run, frame: Frame) -> JSON:
        """Do the task and return its raw output; `frame.target` may be set."""

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        run.complete(branch, frame, self.evaluate(run, frame))


class BlockEnd(Operation):
    """The bottom of a branch's stack: its block is done, so the branch is."""

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        run.end_branch(branch, frame.data)


@dataclass(slots=True)
class Step:
    """One task of a block, compiled."""

    pointer: str
    name: str
    source: JSON
    operation: Operation
    then: int
    condition: Formula | None = None
    input: Rules = NO_RULES
    output: Rules = NO_RULES
    export: Rules = NO_RULES
    timeout: DurationFormula | None = None
    key: str = ""
    """Finds the step when a run is restored; the pointer, unless steps share that."""
    evaluate: Callable[[Run, Frame], JSON] | None = field(init=False)
    formula: Formula | None = field(init=False)
    """The whole task, where it takes its input and its block's variables, and nothing else."""
    has_no_input_rules: bool = field(init=False)
    """Neither condition, `input` nor timeout come before the operation."""
    has_no_output_rules: bool = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.key or self.pointer
        operation = self.operation
        self.evaluate = operation.evaluate if isinstance(operation, InlineOperation) else None
        self.has_no_input_rules = not (self.condition or self.input or self.timeout)
        self.has_no_output_rules = not (self.output or self.export)
        formula = operation.formula if isinstance(operation, InlineOperation) else None
        plain = self.has_no_input_rules and self.has_no_output_rules
        self.formula = formula if plain and formula is not None and not formula.names else None


class Block:
    """Tasks in order."""

    __slots__ = ("pointer", "size", "steps")

    def __init__(self, pointer: str, steps: tuple[Step, ...]) -> None:
        self.pointer = pointer
        self.complete(steps)

    def complete(self, steps: tuple[Step, ...]) -> None:
        """Set the tasks of a block that others refer to already."""
        self.steps = steps
        self.size = len(steps)


@dataclass(frozen=True, slots=True)
class ResourceReference:
    """A document that is fetched before a run's first task, and the place that refers to it."""

    pointer: str
    uri: str
    authentication: JSON = None
    """The policy; null where a deferred value belongs."""
    deferred: tuple[DeferredValue, ...] = ()
    secrets: tuple[str, ...] = ()
    """Names that the document declares."""


@dataclass(slots=True)
class Program:
    """A compiled document. Steps are found by key, blocks by pointer when a run is restored."""

    namespace: str
    name: str
    version: str
    source: JSON
    root: Step
    do: Block
    input: Rules
    output: Rules
    steps: dict[str, Step]
    blocks: dict[str, Block]
    missing: tuple[ResourceReference, ...] = ()
    """Documents without which the program is not whole."""


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
    """Index of the task that follows, where it is not the step's `then`."""
    state: Any = None
    """State of the task's kind; plain JSON once dumped."""
    branches: Sequence[Branch] = ()
    """Branches that run inside this task; they end with it."""
    details: JSON = None
    """Properties that the task's kind adds to `$task`."""
    exported: JSON = None
    """The context that the task's activity made."""
    entry: list[JSON] | None = None
    """This task's entry in the trace."""

    def __init__(
        self, step: Step, raw: JSON, variables: Mapping[str, JSON], attempt: int, started: float
    ) -> None:
        self.step = step
        self.raw = raw
        """Input before `input.from`."""
        self.input = raw
        """Input after `input.from`."""
        self.variables = variables
        """Variables defined around this task: loop items, caught errors."""
        self.attempt = attempt
        """Counts from 1, up with each retry of a `try` around this task."""
        self.started = started
        """Unix time, seconds."""

    def take_details(self, inner: Frame) -> None:
        """Take over what the task's kind set on the frame that did the task."""
        self.details = inner.details
        self.exported = inner.exported

    def begin_block(self, block: Block, data: JSON) -> None:
        """Run a block next."""
        self.block = block
        self.index = 0
        self.data = data


class BranchState(Enum):
    """The next thing a branch does."""

    READY = 1
    WAITING = 2
    ENDED = 3


Timer: TypeAlias = asyncio.TimerHandle | asyncio.Task[None]
"""Wakes a branch, unless it is cancelled before."""


class Branch:
    """One line of execution: the main one, or one inside a task."""

    __slots__ = ("completed", "effect", "output", "parent", "queued", "stack", "state", "timer")

    def __init__(self, parent: Branch | None = None) -> None:
        self.parent = parent
        """The branch whose top frame this one belongs to."""
        self.stack: list[Frame] = []
        self.state = BranchState.READY
        self.completed = False
        """True once it ended with an output; False also where it was stopped."""
        self.output: JSON = None
        self.queued = False
        self.effect: asyncio.Task[JSON] | None = None
        """The effect this branch waits for, besides time."""
        self.timer: tuple[float, Timer] | None = None


def tries_in(branch: Branch) -> Tries | None:
    """Return which try a branch's present task is in, by the nearest task that tries again."""
    around: Branch | None = branch
    while around is not None:
        for frame in reversed(around.stack):
            tries = frame.step.operation.tries(frame)
            if tries is not None:
                return tries
        around = around.parent
    return None


class Run(Protocol):
    """The run, as its operations see it."""

    now: float
    """Unix time of this activation."""

    def value(self, formula: Formula, frame: Frame, subject: JSON) -> JSON:
        """Evaluate an expression or template on `subject` (raises ExpressionError)."""

    def truth(self, formula: Formula, frame: Frame, subject: JSON) -> bool:
        """Evaluate a condition; like jq, only null and false are false."""

    def describe(self, frame: Frame) -> JSON:
        """Return the descriptor of a task, as `$task` has it."""

    def seconds(self, duration: DurationFormula, frame: Frame, subject: JSON) -> float:
        """Return a duration in seconds."""

    def is_past(self, time: float) -> bool:
        """Return whether a time has come, as exactly as timers are."""

    def random(self, low: float, high: float) -> float:
        """Return a number between two, the same on every replay."""

    def unique_id(self) -> str:
        """Return a UUID that no other call returns, the same on every replay."""

    def patched(self, change: str) -> bool:
        """Return whether the run has a change of the engine: False where it began before it."""

    def push_frame(self, branch: Branch, frame: Frame, block: Block | None, data: JSON) -> None:
        """Put a frame of the engine's own, a part of a task, on the stack."""

    def complete(self, branch: Branch, frame: Frame, output: JSON) -> None:
        """Complete the task on top of the stack."""

    def pop_frame(self, branch: Branch, frame: Frame) -> None:
        """Take a pushed frame off the stack; its output is the data of the one below."""

    def wait(
        self,
        branch: Branch,
        *,
        until: float | None = None,
        use: TimerUse | None = None,
        effect: Coroutine[Any, Any, JSON] | None = None,
    ) -> None:
        """Make a branch wait: for a time, whose use people are shown, an effect, or to be woken."""

    def start_branch(self, branch: Branch) -> None:
        """Let a branch of the top frame run, unless it ended before this run began."""

    def end_branch(self, branch: Branch, output: JSON) -> None:
        """End a branch with its output, which the frame it belongs to takes, or the run."""

    def cancel_branch(self, branch: Branch) -> None:
        """Stop a branch wherever it is."""

    def reserve_effect(self, branch: Branch, size: int) -> bool:
        """Return whether a branch may begin an effect whose command has so many bytes.

        If not, it is woken when it may try again.
        """

    def record_execution(self, frame: Frame, execution_id: str) -> None:
        """Show in the trace which execution the task's effect is."""
