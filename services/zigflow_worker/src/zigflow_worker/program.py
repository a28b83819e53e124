"""A compiled document: pure, immutable and shared by all its runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from typing_extensions import override

from zigflow_worker.expressions import JSON, Budget

if TYPE_CHECKING:
    from zigflow_worker.execution.frames import Branch, Frame
    from zigflow_worker.execution.interpreter import Interpreter
    from zigflow_worker.execution.pool import PoolReader, PoolWriter
    from zigflow_worker.schemas import Schema

END = -1
"""Target of the directive `end`. Other targets are indexes; past the last task is `exit`."""

Evaluate: TypeAlias = Callable[[JSON, Mapping[str, JSON], Budget | None], JSON]


class Formula:
    """An expression or template, and which of the engine's own variables it reads."""

    __slots__ = ("evaluate", "names")

    def __init__(self, evaluate: Evaluate, names: tuple[str, ...]) -> None:
        self.evaluate = evaluate
        self.names = names


class DurationFormula:
    """A duration: known in seconds, or else by `formula`."""

    __slots__ = ("formula", "seconds")

    def __init__(self, seconds: float, formula: Formula | None = None) -> None:
        self.seconds = seconds
        self.formula = formula


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled `input`, `output` or `export`."""

    schema: "Schema | None" = None
    transformation: Formula | None = None

    def __bool__(self) -> bool:
        return self.schema is not None or self.transformation is not None


class Operation(ABC):
    """What tasks of one kind do, compiled for one task. It has no state: frames have it."""

    def enter(self, run: "Interpreter", branch: "Branch", frame: "Frame") -> None:  # noqa: B027
        """Begin: set the frame's state or first block. `proceed` follows."""

    @abstractmethod
    def proceed(self, run: "Interpreter", branch: "Branch", frame: "Frame") -> None:
        """Go on when there is no task of the frame's block left, or the branch was woken.

        It completes the task, sets a block, or makes the branch wait. It may be called again at
        any time, in another run too, and must find all it needs in the frame.
        """

    def catch(
        self,
        run: "Interpreter",  # noqa: ARG002
        branch: "Branch",  # noqa: ARG002
        frame: "Frame",  # noqa: ARG002
        problem: Mapping[str, JSON],  # noqa: ARG002
    ) -> bool:
        """Handle an error from inside the task; False passes it on."""
        return False

    def abandon(self, run: "Interpreter", frame: "Frame") -> None:  # noqa: B027
        """Let go of what the frame holds, because it is given up."""

    def dump(self, frame: "Frame", pool: "PoolWriter") -> JSON:  # noqa: ARG002
        """Return the frame's state as plain JSON; values of the run go into the pool."""
        state: JSON = frame.state
        return state

    def load(
        self,
        run: "Interpreter",  # noqa: ARG002
        branch: "Branch",  # noqa: ARG002
        frame: "Frame",
        state: JSON,
        pool: "PoolReader",  # noqa: ARG002
    ) -> None:
        """Restore what `dump` returned."""
        frame.state = state


class InlineOperation(Operation):
    """An operation done in one go, without a place on the stack."""

    formula: Formula | None = None
    """All there is to it, where an expression or template makes its raw output."""

    @abstractmethod
    def evaluate(self, run: "Interpreter", frame: "Frame") -> JSON:
        """Do the task and return its raw output; `frame.target` may be set."""

    @override
    def proceed(self, run: "Interpreter", branch: "Branch", frame: "Frame") -> None:
        run.complete(branch, frame, self.evaluate(run, frame))


class BlockEnd(Operation):
    """The bottom of a branch's stack: its block is done, so the branch is."""

    @override
    def proceed(self, run: "Interpreter", branch: "Branch", frame: "Frame") -> None:
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
    input: Rules = Rules()
    output: Rules = Rules()
    export: Rules = Rules()
    timeout: DurationFormula | None = None
    evaluate: "Callable[[Interpreter, Frame], JSON] | None" = field(init=False)
    formula: Formula | None = field(init=False)
    """The whole task, where it takes its input and its block's variables, and nothing else."""
    plain_start: bool = field(init=False)
    plain_end: bool = field(init=False)

    def __post_init__(self) -> None:
        operation = self.operation
        self.evaluate = operation.evaluate if isinstance(operation, InlineOperation) else None
        self.plain_start = not (self.condition or self.input or self.timeout)
        self.plain_end = not (self.output or self.export)
        formula = operation.formula if isinstance(operation, InlineOperation) else None
        plain = self.plain_start and self.plain_end and formula is not None and not formula.names
        self.formula = formula if plain else None


class Block:
    """Tasks in order."""

    __slots__ = ("pointer", "size", "steps")

    def __init__(self, pointer: str, steps: tuple[Step, ...]) -> None:
        self.pointer = pointer
        self.steps = steps
        self.size = len(steps)


@dataclass(slots=True)
class Program:
    """A compiled document. Steps and blocks are found by JSON pointer when a run is restored."""

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
