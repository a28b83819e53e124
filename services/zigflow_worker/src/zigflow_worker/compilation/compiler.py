"""Compiling one definition."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from zigflow_worker.definition import (
    DataRules,
    DurationDefinition,
    Node,
    NodeError,
    Problem,
    RetryDefinition,
    TaskDefinition,
    TaskList,
    WorkflowDefinition,
)
from zigflow_worker.definition.model import ErrorDefinition
from zigflow_worker.definition.nodes import InvalidDocumentError
from zigflow_worker.expressions import (
    ExpressionSyntaxError,
    compile_expression,
    compile_template,
    is_expression,
)
from zigflow_worker.loading import SourceDocument
from zigflow_worker.program import (
    END,
    Block,
    BlockEnd,
    DurationFormula,
    Formula,
    Operation,
    Program,
    Rules,
    Step,
)
from zigflow_worker.schemas import Schema, SchemaError

T = TypeVar("T")


class Variables(Enum):
    """Which of the engine's variables an expression sees, by where it is written."""

    WORKFLOW_INPUT = ("workflow", "runtime")
    WORKFLOW_OUTPUT = ("context", "workflow", "runtime")
    TASK_START = ("context", "task", "workflow", "runtime")
    TASK = ("context", "input", "task", "workflow", "runtime")
    TASK_EXPORT = ("context", "input", "output", "task", "workflow", "runtime")


RESERVED = frozenset(
    ("context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task is: the variables its document defines around it, and its block."""

    variables: frozenset[str] = frozenset()
    index: int = 0
    names: Mapping[str, int] | None = None

    def defining(self, *variables: str) -> "Place":
        """Return this place with more variables."""
        return replace(self, variables=self.variables | set(variables))


class Compiler:
    """Compiles one definition. Problems of one task do not hide those of the next."""

    def __init__(self, definition: WorkflowDefinition, source: SourceDocument) -> None:
        self._definition = definition
        self._source = source
        self._problems: list[Problem] = []
        self._steps: dict[str, Step] = {}
        self._blocks: dict[str, Block] = {}

    def program(self) -> Program:
        """Compile the whole (raises InvalidDocumentError with every problem found)."""
        definition = self._definition
        do = self.block(definition.do, Place())
        rules = {}
        timeout = None
        for name, variables in (
            ("input", Variables.WORKFLOW_INPUT),
            ("output", Variables.WORKFLOW_OUTPUT),
        ):
            with self.collecting():
                rules[name] = self.rules(getattr(definition, name), variables, Place())
        with self.collecting():
            timeout = self._timeout(definition.timeout, Variables.WORKFLOW_INPUT, Place())
        if self._problems:
            raise InvalidDocumentError(self._problems)
        return Program(
            namespace=definition.namespace,
            name=definition.name,
            version=definition.version,
            source=definition.source,
            root=self.register(
                Step("", definition.name, definition.source, BlockEnd(), then=0, timeout=timeout)
            ),
            do=do,
            steps=self._steps,
            blocks=self._blocks,
            **rules,
        )

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep a NodeError of the body as a problem, and go on after it."""
        try:
            yield
        except NodeError as error:
            place = self._source.position(error.pointer)
            self._problems.append(Problem(*place, error.pointer, error.message))

    # --- Blocks and tasks

    def block(self, tasks: TaskList, place: Place) -> Block:
        """Compile a list of tasks that run in order."""
        names = {task.name: index for index, task in enumerate(tasks.tasks)}
        steps = []
        for index, task in enumerate(tasks.tasks):
            with self.collecting():
                steps.append(self._step(task, replace(place, index=index, names=names)))
        return self._register_block(Block(tasks.pointer, tuple(steps)))

    def branch(self, task: TaskDefinition, pointer: str, place: Place) -> tuple[Step, Block]:
        """Compile a task that runs beside others; the step is the bottom of its stack."""
        step = self._step(task, replace(place, index=0, names={task.name: 0}))
        root = self.register(Step(pointer, task.name, task.node.value, BlockEnd(), then=0))
        return root, self._register_block(Block(pointer, (step,)))

    def inner_step(self, pointer: str, name: str, operation: Operation) -> Step:
        """Return a step of the engine's own that runs a part of a task."""
        return self.register(Step(pointer, name, None, operation, then=0))

    def register(self, step: Step) -> Step:
        """Make a step known by its pointer."""
        self._steps[step.pointer] = step
        return step

    def _register_block(self, block: Block) -> Block:
        self._blocks[block.pointer] = block
        return block

    def _step(self, task: TaskDefinition, place: Place) -> Step:
        start, end = Variables.TASK_START, Variables.TASK
        return self.register(
            Step(
                pointer=task.node.pointer,
                name=task.name,
                source=task.node.value,
                operation=task.kind.compile(task, self, place),
                then=self.target(task.then, place),
                condition=self.optional(task.condition, place, start),
                input=self.rules(task.input, start, place),
                output=self.rules(task.output, end, place),
                export=self.rules(task.export, Variables.TASK_EXPORT, place),
                timeout=self._timeout(task.timeout, start, place),
            )
        )

    def target(self, directive: Node | None, place: Place) -> int:
        """Return the index of the task that a flow directive leads to."""
        names = place.names or {}
        if directive is None:
            return place.index + 1
        match directive.value:
            case "continue":
                return place.index + 1
            case "exit":
                return len(names)
            case "end":
                return END
            case name if isinstance(name, str) and name in names:
                return names[name]
        raise directive.error(
            f"'{directive.value}' is neither a directive (continue, exit, end) nor a task of "
            f"this block ({', '.join(names)})"
        )

    # --- Expressions

    def expression(
        self, node: Node, place: Place, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a property that is an expression, with or without its `${}`."""
        text = node.text()
        known = place.variables.union(variables.value)
        with _syntax_errors_of(node, known):
            expression = compile_expression(text, known)
        return Formula(expression.evaluate, _names_in(text, variables))

    def template(self, node: Node, place: Place, variables: Variables = Variables.TASK) -> Formula:
        """Compile a value that may have expressions anywhere inside."""
        known = place.variables.union(variables.value)
        with _syntax_errors_of(node, known):
            template = compile_template(node.value, known)
        names = () if template.constant else _names_in(json.dumps(node.value), variables)
        return Formula(template.evaluate, names)

    def expression_or_template(
        self, node: Node, place: Place, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a property where a string is an expression even without `${}`."""
        if isinstance(node.value, str):
            return self.expression(node, place, variables)
        return self.template(node, place, variables)

    def optional(
        self, node: Node | None, place: Place, variables: Variables = Variables.TASK
    ) -> Formula | None:
        """Compile an expression that may be absent."""
        return None if node is None else self.expression(node, place, variables)

    def variable(self, node: Node | None, default: str) -> str:
        """Return the name of a variable that a task defines."""
        if node is None:
            return default
        name = node.text().removeprefix("$")
        if name in RESERVED:
            raise node.error(f"'{name}' is a variable of the language")
        if not name.replace("_", "a").isalnum() or name[0].isdigit() or not name.isascii():
            raise node.error(f"'{name}' is not a variable name: letters, digits and _ only")
        return name

    def rules(self, rules: DataRules, variables: Variables, place: Place) -> Rules:
        """Compile `input`, `output` or `export`."""
        schema = transformation = None
        if rules.schema is not None:
            schema = self.schema(rules.schema)
        if rules.transformation is not None:
            transformation = self.expression_or_template(rules.transformation, place, variables)
        return Rules(schema, transformation)

    def schema(self, node: Node) -> Schema:
        """Compile a JSON Schema."""
        try:
            return Schema(node.value)
        except SchemaError as error:
            raise node.error(f"not a valid JSON Schema: {error}") from None

    def duration(
        self,
        duration: DurationDefinition,
        place: Place,
        variables: Variables = Variables.TASK,
    ) -> DurationFormula:
        """Compile a duration."""
        if duration.seconds is not None:
            return DurationFormula(duration.seconds)
        return DurationFormula(0, self.expression(duration.node, place, variables))

    def optional_duration(
        self, duration: DurationDefinition | None, place: Place
    ) -> DurationFormula | None:
        """Compile a duration that may be absent."""
        return None if duration is None else self.duration(duration, place)

    # --- References

    def error(self, reference: ErrorDefinition | Node) -> ErrorDefinition:
        """Return an error given inline or by the name of a reusable one."""
        if isinstance(reference, ErrorDefinition):
            return reference
        return _referenced(reference, self._definition.errors, "errors")

    def retry(self, reference: RetryDefinition | Node) -> RetryDefinition:
        """Return a retry policy given inline or by the name of a reusable one."""
        if isinstance(reference, RetryDefinition):
            return reference
        return _referenced(reference, self._definition.retries, "retries")

    def _timeout(
        self, timeout: DurationDefinition | Node | None, variables: Variables, place: Place
    ) -> DurationFormula | None:
        if timeout is None:
            return None
        if isinstance(timeout, Node):
            timeout = _referenced(timeout, self._definition.timeouts, "timeouts")
        return self.duration(timeout, place, variables)


def _referenced(node: Node, known: Mapping[str, T], section: str) -> T:
    name = node.text()
    if name not in known:
        raise node.error(f"'{name}' is not defined in 'use.{section}'")
    return known[name]


def _names_in(text: str, variables: Variables) -> tuple[str, ...]:
    """Return the variables that a text may read: too many are harmless, too few are not."""
    return tuple(name for name in variables.value if name in text)


@contextmanager
def _syntax_errors_of(node: Node, known: frozenset[str]) -> Iterator[None]:
    try:
        yield
    except ExpressionSyntaxError as error:
        raise _innermost(node, known).error(f"invalid expression: {error}") from None


def _innermost(node: Node, known: frozenset[str]) -> Node:
    """Return the first expression inside a template that does not compile on its own."""
    children: list[Node] = []
    if isinstance(node.value, dict):
        children = [node.child(key) for key in node.value]
    elif isinstance(node.value, list):
        children = [node.child(index) for index in range(len(node.value))]
    for child in children:
        found = _innermost(child, known)
        if found is not child or _is_broken(child, known):
            return found
    return node


def _is_broken(node: Node, known: frozenset[str]) -> bool:
    if not is_expression(node.value):
        return False
    try:
        compile_expression(str(node.value), known)
    except ExpressionSyntaxError:
        return True
    return False
