"""`try`: catching errors, and trying again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import override

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, RetryDefinition, TaskDefinition, TaskList
from zigflow_worker.definition.header import read_retry
from zigflow_worker.errors import matches
from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.pool import PoolReader, PoolWriter
from zigflow_worker.expressions import JSON
from zigflow_worker.program import Block, Formula, Operation, Step
from zigflow_worker.tasks.kind import TaskKind
from zigflow_worker.tasks.retries import RetryPolicy, compile_retry


@dataclass(frozen=True, slots=True)
class TryDefinition:
    """A block, and what happens to its errors. `retry` is a policy or the name of one."""

    block: TaskList
    errors: Mapping[str, Node]
    variable: Node | None
    when: Node | None
    except_when: Node | None
    retry: RetryDefinition | Node | None
    do: TaskList | None
    then: Node | None


class TryTask(TaskKind[TryDefinition]):
    """Runs a block; its errors may be caught, retried and handled."""

    keyword = "try"
    keys = ("try", "catch")
    required = ("try", "catch")

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> TryDefinition:
        """Read block and handler."""
        catch = fields["catch"].fields("errors", "as", "when", "exceptWhen", "retry", "do", "then")
        return TryDefinition(
            block=reader.task_list(fields["try"]),
            errors=_read_filter(catch.get("errors")),
            variable=catch.get("as"),
            when=reader.expression(catch.get("when")),
            except_when=reader.expression(catch.get("exceptWhen")),
            retry=_read_retry(catch.get("retry"), reader),
            do=reader.task_list(catch["do"]) if "do" in catch else None,
            then=reader.directive(catch.get("then")),
        )

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile both blocks; the error's variable is known in the handler and its conditions."""
        definition: TryDefinition = task.details
        variable = compiler.variable(definition.variable, "error")
        inside = place.defining(variable)
        pointer = task.node.pointer
        part = Part()
        retry = None
        if definition.retry is not None:
            retry = compile_retry(compiler.retry(definition.retry), compiler, inside)
        return TryOperation(
            attempt=compiler.inner_step(f"{pointer}/try", task.name, part),
            block=compiler.block(definition.block, place),
            errors={name: node.value for name, node in definition.errors.items()},
            variable=variable,
            when=compiler.optional(definition.when, inside),
            except_when=compiler.optional(definition.except_when, inside),
            retry=retry,
            handler=compiler.inner_step(f"{pointer}/catch", task.name, part),
            handler_block=None if definition.do is None else compiler.block(definition.do, inside),
            then=None if definition.then is None else compiler.target(definition.then, place),
        )


def _read_filter(node: Node | None) -> Mapping[str, Node]:
    if node is None:
        return {}
    errors = node.fields("with")
    if "with" not in errors:
        return {}
    return errors["with"].fields("type", "status", "instance", "title", "detail")


def _read_retry(node: Node | None, reader: Reader) -> RetryDefinition | Node | None:
    if node is None or isinstance(node.value, str):
        return node
    return read_retry(node, reader)


class Part(Operation):
    """One of the two blocks of a `try`, on the stack above it."""

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Hand the output down."""
        run.complete_part(branch, frame)


Phase = Literal["start", "trying", "delayed", "caught", "handling"]


class Attempts:
    """The state of a `try`."""

    __slots__ = ("around", "phase", "problem", "retries", "until")

    def __init__(self, around: Mapping[str, JSON]) -> None:
        self.around = around
        self.phase: Phase = "start"
        self.retries = 0
        self.until = 0.0
        """When the next attempt begins."""
        self.problem: JSON = None
        """The error being handled."""


@dataclass(slots=True)
class TryOperation(Operation):
    """The output is the block's, or the handler's, or, with neither, the input."""

    attempt: Step
    block: Block
    errors: Mapping[str, JSON]
    variable: str
    when: Formula | None
    except_when: Formula | None
    retry: RetryPolicy | None
    handler: Step
    handler_block: Block | None
    then: int | None

    @override
    def enter(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Prepare the first attempt."""
        frame.state = Attempts(frame.variables)

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Go to the next phase."""
        state: Attempts = frame.state
        match state.phase:
            case "start":
                self._try(run, branch, frame)
            case "delayed" if run.is_past(state.until):
                self._try(run, branch, frame)
            case "delayed":
                run.wait(branch, until=state.until)
            case "trying":
                run.complete(branch, frame, frame.data)
            case "caught" if self.handler_block is not None:
                state.phase = "handling"
                handler = Frame(self.handler, frame.input, frame.variables, frame.attempt, run.now)
                run.push(branch, handler, self.handler_block, frame.input)
            case "caught":
                self._handled(run, branch, frame, frame.input)
            case "handling":
                self._handled(run, branch, frame, frame.data)

    def _try(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        state: Attempts = frame.state
        state.phase = "trying"
        attempt = Frame(self.attempt, frame.input, frame.variables, state.retries + 1, run.now)
        if self.retry is not None and self.retry.attempt_duration is not None:
            seconds = run.seconds(self.retry.attempt_duration, frame, frame.input)
            attempt.deadline = run.now + seconds
        run.push(branch, attempt, self.block, frame.input)

    def _handled(self, run: Interpreter, branch: Branch, frame: Frame, output: JSON) -> None:
        frame.variables = frame.state.around
        frame.target = self.then
        run.complete(branch, frame, output)

    @override
    def catch(
        self, run: Interpreter, branch: Branch, frame: Frame, problem: Mapping[str, JSON]
    ) -> bool:
        """Catch what the filter lets through, and decide between retry and handler."""
        state: Attempts = frame.state
        if state.phase != "trying" or not matches(problem, self.errors):
            return False
        self._set_problem(frame, dict(problem))
        if self.when is not None and not run.truth(self.when, frame, frame.input):
            return False
        if self.except_when is not None and run.truth(self.except_when, frame, frame.input):
            return False
        if self.retry is not None:
            delay = self.retry.delay_before(run, frame, state.retries + 1)
            if delay is not None:
                state.retries += 1
                state.until = run.now + delay
                state.phase = "delayed"
                self._set_problem(frame, None)
                return True
            if self.handler_block is None and self.then is None:
                return False
        state.phase = "caught"
        return True

    def _set_problem(self, frame: Frame, problem: JSON) -> None:
        state: Attempts = frame.state
        state.problem = problem
        frame.variables = state.around
        if problem is not None:
            frame.variables = {**state.around, self.variable: problem}

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        """Return the phase, the retries made, and the error being handled."""
        state: Attempts = frame.state
        return [state.phase, state.retries, state.until, pool.add(state.problem)]

    @override
    def load(
        self, run: Interpreter, branch: Branch, frame: Frame, state: Any, pool: PoolReader
    ) -> None:
        """Restore the phase and the error's variable."""
        frame.state = attempts = Attempts(frame.variables)
        attempts.phase, attempts.retries, attempts.until = state[:3]
        self._set_problem(frame, pool[state[3]])
