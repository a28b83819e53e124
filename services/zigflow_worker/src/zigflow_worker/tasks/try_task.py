"""`try`: catching errors, and trying again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import override

from stigma.contracts.engine_summaries import TimerKind, TimerUse, Tries
from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, RetryDefinition, TaskDefinition, TaskList
from zigflow_worker.definition.header import read_retry
from zigflow_worker.errors import matches
from zigflow_worker.expressions import JSON
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Block, Branch, Frame, Operation, Run, Step
from zigflow_worker.program.pool import PoolReader, PoolWriter
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


_CATCH_KEYS = ("errors", "as", "when", "exceptWhen", "retry", "do", "then")


class TryTask(TaskKind[TryDefinition]):
    """Runs a block; its errors may be caught, retried and handled."""

    keyword = "try"
    keys = ("try", "catch")
    required = ("try", "catch")

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> TryDefinition:
        catch: Mapping[str, Node] = {}
        with reader.part():
            catch = fields["catch"].fields(
                *_CATCH_KEYS, like="{errors: {with: {status: 404}}, do: []}"
            )
        return TryDefinition(
            block=reader.task_list(fields["try"]),
            errors=_read_filter(catch.get("errors"), reader),
            variable=catch.get("as"),
            when=reader.expression(catch.get("when")),
            except_when=reader.expression(catch.get("exceptWhen")),
            retry=_read_retry(catch.get("retry"), reader),
            do=reader.task_list(catch["do"]) if "do" in catch else None,
            then=reader.directive(catch.get("then")),
        )

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: TryDefinition = task.details
        variable = compiler.variable(definition.variable, "error")
        inside = scope.defining(variable)
        pointer = task.node.pointer
        part = SubBlock()
        retry = None
        if definition.retry is not None:
            with compiler.part():
                retry = compile_retry(compiler.retry(definition.retry), compiler, inside)
        return TryOperation(
            attempt=compiler.inner_step(f"{pointer}/try", task.name, part),
            block=compiler.block(definition.block, scope),
            errors={name: node.value for name, node in definition.errors.items()},
            variable=variable,
            when=compiler.optional(definition.when, inside),
            except_when=compiler.optional(definition.except_when, inside),
            retry=retry,
            handler=compiler.inner_step(f"{pointer}/catch", task.name, part),
            handler_block=None if definition.do is None else compiler.block(definition.do, inside),
            then=None if definition.then is None else compiler.target(definition.then, scope),
        )


def _read_filter(node: Node | None, reader: Reader) -> Mapping[str, Node]:
    if node is not None:
        with reader.part():
            errors = node.fields("with", like="{with: {status: 404}}", inside="with")
            if "with" in errors:
                return reader.error_filter(errors["with"])
    return {}


def _read_retry(node: Node | None, reader: Reader) -> RetryDefinition | Node | None:
    if node is None or isinstance(node.value, str):
        return node
    with reader.part():
        return read_retry(node, reader)
    return None


class SubBlock(Operation):
    """One of the two blocks of a `try`, on the stack above it."""

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        run.pop_frame(branch, frame)


Phase = Literal["start", "trying", "delayed", "caught", "handling"]


class TryState:
    """The state of a `try`."""

    __slots__ = ("outer_variables", "phase", "problem", "retries", "until")

    def __init__(self, outer_variables: Mapping[str, JSON]) -> None:
        self.outer_variables = outer_variables
        self.phase: Phase = "start"
        self.retries = 0
        self.until = 0.0
        """Unix time at which the next attempt begins."""
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
    def enter(self, run: Run, branch: Branch, frame: Frame) -> None:
        frame.state = TryState(frame.variables)

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        state: TryState = frame.state
        match state.phase:
            case "start":
                self._try(run, branch, frame)
            case "delayed" if run.is_past(state.until):
                self._try(run, branch, frame)
            case "delayed":
                use = TimerUse(TimerKind.RETRY, frame.step.pointer, self._present_try(state))
                run.wait(branch, until=state.until, use=use)
            case "trying":
                run.complete(branch, frame, frame.data)
            case "caught" if self.handler_block is not None:
                state.phase = "handling"
                handler = Frame(self.handler, frame.input, frame.variables, frame.attempt, run.now)
                run.push_frame(branch, handler, self.handler_block, frame.input)
            case "caught":
                self._handled(run, branch, frame, frame.input)
            case "handling":
                self._handled(run, branch, frame, frame.data)

    def _try(self, run: Run, branch: Branch, frame: Frame) -> None:
        state: TryState = frame.state
        state.phase = "trying"
        attempt = Frame(self.attempt, frame.input, frame.variables, state.retries + 1, run.now)
        if self.retry is not None and self.retry.attempt_duration is not None:
            seconds = run.seconds(self.retry.attempt_duration, frame, frame.input)
            attempt.deadline = run.now + seconds
        run.push_frame(branch, attempt, self.block, frame.input)

    def _handled(self, run: Run, branch: Branch, frame: Frame, output: JSON) -> None:
        frame.variables = frame.state.outer_variables
        frame.target = self.then
        run.complete(branch, frame, output)

    @override
    def catch(self, run: Run, branch: Branch, frame: Frame, problem: Mapping[str, JSON]) -> bool:
        state: TryState = frame.state
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

    @override
    def tries(self, frame: Frame) -> Tries | None:
        state: TryState = frame.state
        return self._present_try(state) if state.phase == "trying" else None

    def _present_try(self, state: TryState) -> Tries | None:
        if self.retry is None:
            return None
        most = 0 if self.retry.attempts is None else self.retry.attempts + 1
        return Tries(state.retries + 1, most)

    def _set_problem(self, frame: Frame, problem: JSON) -> None:
        state: TryState = frame.state
        state.problem = problem
        frame.variables = state.outer_variables
        if problem is not None:
            frame.variables = {**state.outer_variables, self.variable: problem}

    @override
    def dump(self, frame: Frame, pool: PoolWriter) -> JSON:
        state: TryState = frame.state
        return [state.phase, state.retries, state.until, pool.add(state.problem)]

    @override
    def load(self, frame: Frame, state: Any, pool: PoolReader) -> None:
        frame.state = restored = TryState(frame.variables)
        restored.phase, restored.retries, restored.until = state[:3]
        self._set_problem(frame, pool[state[3]])
