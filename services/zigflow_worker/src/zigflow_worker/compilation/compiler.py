"""Compiles one definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Protocol, TypeVar, cast

from typing_extensions import override

from stigma.contracts import limits
from zigflow_worker.compilation.call_rules import CallRules
from zigflow_worker.compilation.extensions import ExtensionTable, extended, inner_step
from zigflow_worker.compilation.functions import FunctionTable
from zigflow_worker.compilation.references import ReferenceCompiler
from zigflow_worker.compilation.resources import reference
from zigflow_worker.compilation.scope import CompileScope, Variables
from zigflow_worker.definition import (
    UNREAD,
    ConsequenceError,
    ExtensionDefinition,
    HeavyDocumentError,
    Node,
    ProblemList,
    SchemaResource,
    TaskDefinition,
    TaskList,
    WorkflowDefinition,
)
from zigflow_worker.loading import TOO_HEAVY, SourceDocument
from zigflow_worker.program.extensions import TASK_VARIABLE, Extension
from zigflow_worker.program.model import (
    END,
    Block,
    BlockEnd,
    Operation,
    Program,
    ResourceReference,
    Step,
)

T = TypeVar("T")
_LOST = -1_000_000
"""Index of a task that is not read because of a mistake."""
_TASK = 60
"""Weight of a task besides its values."""


class CompilableKind(Protocol):
    """A task kind as the compiler sees it; `TaskKind` is the whole."""

    is_call: ClassVar[bool]

    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        """Return what runs the task (raises NodeError)."""


class Compiler(ReferenceCompiler):
    """Compiles one definition."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        source: SourceDocument,
        most: int | None = limits.MAX_DOCUMENT_WEIGHT,
        resources: Mapping[str, str] | None = None,
        every: ProblemList | None = None,
    ) -> None:
        super().__init__(definition, source, every)
        self._left = None if most is None else most - source.weight
        self._resources = resources or {}
        self._missing: list[ResourceReference] = []
        self._functions = FunctionTable(definition.functions, "functions" in definition.unread)
        self._extensions = ExtensionTable()
        self._steps: dict[str, Step] = {}
        self._blocks: dict[str, Block] = {}

    def program(self) -> Program:
        """Compile the whole (raises InvalidDocumentError with every problem found)."""
        definition = self._definition
        self._compile_extensions()
        self._compile_functions()
        do = self.block(definition.do, CompileScope())
        rules = {}
        timeout = None
        for name, variables in (
            ("input", Variables.WORKFLOW_INPUT),
            ("output", Variables.WORKFLOW_OUTPUT),
        ):
            with self.collecting_problems():
                rules[name] = self.rules(getattr(definition, name), variables, CompileScope())
        with self.collecting_problems():
            timeout = self.optional_timeout(
                definition.timeout, Variables.WORKFLOW_INPUT, CompileScope()
            )
        self.raise_problems()
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
            missing=tuple(self._missing),
            **rules,
        )

    @property
    def document_path(self) -> str:
        """The document's identity as a URI path."""
        definition = self._definition
        return f"/{definition.namespace}/{definition.name}/{definition.version}"

    # --- Blocks and tasks

    def block(self, tasks: TaskList, scope: CompileScope, *, exit_offset: int = 0) -> Block:
        """Compile a list of tasks that run in order."""
        scope = replace(scope, exit_offset=exit_offset)
        names = dict.fromkeys(tasks.lost, _LOST)
        names |= {task.name: index for index, task in enumerate(tasks.tasks)}
        steps = []
        for index, task in enumerate(tasks.tasks):
            with self.collecting_problems():
                steps.append(self._step(task, replace(scope, index=index, names=names)))
        return self._register_block(Block(tasks.pointer, tuple(steps)))

    def branch(self, task: TaskDefinition, pointer: str, scope: CompileScope) -> tuple[Step, Block]:
        """Compile a task that runs beside others; the step is the bottom of its stack."""
        step = self._step(task, replace(scope, index=0, names={task.name: 0}, exit_offset=0))
        root = self.register(Step(pointer, task.name, task.node.value, BlockEnd(), then=0))
        return root, self._register_block(Block(pointer, (step,)))

    def inner_step(self, pointer: str, name: str, operation: Operation) -> Step:
        """Return a step of the engine's own that runs a part of a task."""
        return self.register(Step(pointer, name, None, operation, then=0))

    def register(self, step: Step) -> Step:
        """Make a step known by its pointer."""
        self._steps[step.key] = step
        return step

    def _register_block(self, block: Block) -> Block:
        self._blocks[block.pointer] = block
        return block

    def _step(self, task: TaskDefinition, scope: CompileScope) -> Step:
        self.weigh(task.node, _TASK)
        start, end = Variables.TASK_START, Variables.TASK
        kind = cast("CompilableKind | None", task.kind)  # it comes from CompilableKinds
        is_call = kind is None or kind.is_call
        rules = CallRules.of(task) if is_call else CallRules.of_run(task)
        return self.register(
            Step(
                pointer=task.node.pointer,
                name=task.name,
                source=task.node.value,
                operation=self._extended(task, self._operation(task, kind, scope), scope),
                then=self.target(task.then, scope),
                condition=self.optional(task.condition, scope, start),
                input=self.rules(rules.input, start, scope),
                output=self.rules(rules.output, end, scope),
                export=rules.exported(self.rules(rules.export, Variables.TASK_EXPORT, scope)),
                timeout=self.optional_timeout(task.timeout, start, scope),
            )
        )

    def _operation(
        self, task: TaskDefinition, kind: CompilableKind | None, scope: CompileScope
    ) -> Operation:
        if kind is not None and task.details is not UNREAD:
            with self.part():
                return kind.compile(task, self, scope)
        return BlockEnd()  # nothing runs: there are problems

    def target(self, directive: Node | None, scope: CompileScope) -> int:
        """Return the index of the task that a flow directive leads to."""
        names = scope.names or {}
        if directive is None:
            return scope.index + 1
        match directive.value:
            case "continue":
                return scope.index + 1
            case "exit":
                return len(names) + scope.exit_offset
            case "end":
                return END
            case name if isinstance(name, str) and name in names:
                return names[name]
        known = ", ".join(name for name, index in names.items() if index != _LOST)
        with self.part():
            if "" in names:
                raise ConsequenceError("it may be a task that has no name", directive.pointer)
            raise directive.error(
                f"'{directive.value}' is neither a directive (continue, exit, end) nor a task of "
                f"this block ({known})",
                known=(*names, "continue", "exit", "end"),
            )
        return END

    @property
    @override
    def has_expressions(self) -> bool:
        return "expressions" not in self._definition.unread

    @override
    def weigh(self, node: Node, weight: int) -> None:
        """Count what compiling a part takes, before it is compiled (raises HeavyDocumentError)."""
        if self._left is not None:
            self._left -= weight
            if self._left < 0:
                raise HeavyDocumentError([self.problem(node.pointer, TOO_HEAVY)])

    # --- Extensions and functions

    def _compile_extensions(self) -> None:
        scope = CompileScope(variables=frozenset((TASK_VARIABLE,)), is_extended=False)
        for definition in self._definition.extensions:
            with self.collecting_problems():
                self._extensions.add(definition, self._extension(definition, scope))

    def _extension(self, definition: ExtensionDefinition, scope: CompileScope) -> Extension:
        before, after = definition.before, definition.after
        return Extension(
            when=self.optional(definition.when, CompileScope()),
            before=None if before is None else self.block(before, scope, exit_offset=1),
            after=None if after is None else self.block(after, scope),
        )

    def _extended(
        self, task: TaskDefinition, operation: Operation, scope: CompileScope
    ) -> Operation:
        extensions = self._extensions.of(task) if scope.is_extended else ()
        if not extensions:
            return operation
        return extended(self.register(inner_step(task, operation)), extensions)

    def function(self, name: Node, scope: CompileScope) -> Block:
        """Return the block of a function that a task calls."""
        with self.part():
            return self._functions.call(name, scope.function)
        return Block(name.pointer, ())

    def _compile_functions(self) -> None:
        for name, function in self._definition.functions.items():
            with self.collecting_problems():
                scope = CompileScope(names={name: 0}, function=name)
                block = self._functions.block(name)
                block.complete((self._step(function, scope),))
                self._register_block(block)
        for problem in self._functions.problems():
            with self.collecting_problems():
                raise problem

    # --- References

    @override
    def resource(self, definition: SchemaResource) -> str | None:
        uri = definition.uri
        if uri not in self._resources:
            self._missing.append(reference(definition, self))
        return self._resources.get(uri)
