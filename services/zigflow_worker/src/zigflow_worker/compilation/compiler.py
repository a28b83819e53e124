"""Compiles one definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Protocol, TypeVar, cast

from typing_extensions import override

from stigma.contracts import limits
from zigflow_worker.compilation.call_rules import SECRETS, CallRules, expressions_in
from zigflow_worker.compilation.extensions import ExtensionTable, extended, inner_step
from zigflow_worker.compilation.functions import FunctionTable
from zigflow_worker.compilation.resources import reference
from zigflow_worker.compilation.scope import CompileScope, Variables
from zigflow_worker.compilation.values import ValueCompiler
from zigflow_worker.definition import (
    DurationDefinition,
    ErrorDefinition,
    ExtensionDefinition,
    HeavyDocumentError,
    Node,
    ProblemCollector,
    RetryDefinition,
    SchemaResource,
    TaskDefinition,
    TaskList,
    WorkflowDefinition,
    read_authentication,
)
from zigflow_worker.expressions import keys_read
from zigflow_worker.loading import TOO_HEAVY, SourceDocument
from zigflow_worker.program.extensions import TASK_VARIABLE, Extension
from zigflow_worker.program.formulas import DurationFormula
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
_TASK = 60
"""Weight of a task besides its values."""


class CompilableKind(Protocol):
    """A task kind as the compiler sees it; `TaskKind` is the whole."""

    is_call: ClassVar[bool]

    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        """Return what runs the task (raises NodeError)."""


class Compiler(ValueCompiler, ProblemCollector):
    """Compiles one definition."""

    def __init__(
        self,
        definition: WorkflowDefinition,
        source: SourceDocument,
        most: int | None = limits.MAX_DOCUMENT_WEIGHT,
        resources: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(source)
        self._left = None if most is None else most - source.weight
        self._definition = definition
        self._resources = resources or {}
        self._missing: list[ResourceReference] = []
        self._functions = FunctionTable(definition.functions)
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
            timeout = self._timeout(definition.timeout, Variables.WORKFLOW_INPUT, CompileScope())
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
        names = {task.name: index for index, task in enumerate(tasks.tasks)}
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
        kind = cast("CompilableKind", task.kind)  # it comes from CompilableKinds
        rules = CallRules.of(task) if kind.is_call else CallRules.of_run(task)
        return self.register(
            Step(
                pointer=task.node.pointer,
                name=task.name,
                source=task.node.value,
                operation=self._extended(task, kind.compile(task, self, scope), scope),
                then=self.target(task.then, scope),
                condition=self.optional(task.condition, scope, start),
                input=self.rules(rules.input, start, scope),
                output=self.rules(rules.output, end, scope),
                export=rules.exported(self.rules(rules.export, Variables.TASK_EXPORT, scope)),
                timeout=self._timeout(task.timeout, start, scope),
            )
        )

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
        raise directive.error(
            f"'{directive.value}' is neither a directive (continue, exit, end) nor a task of "
            f"this block ({', '.join(names)})"
        )

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
        return self._functions.call(name, scope.function)

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

    def authentication(self, node: Node) -> Node:
        """Return the policy of an authentication, which may be the name of a reusable one."""
        policy = read_authentication(node)
        if isinstance(policy, Node):
            policy = _referenced(policy, self._definition.authentications, "authentications")
        if policy.secret is not None:
            self.check_secret(policy.secret, policy.secret.text())
        return policy.node

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

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that the document declares."""
        return self._definition.secrets

    def check_secrets(self, node: Node) -> None:
        """Check the secrets that an expression, or those in a value, read by name."""
        parts = [node] if isinstance(node.value, str) else expressions_in(node)
        for part in parts:
            for name in keys_read(part.text(), SECRETS):
                self.check_secret(part, name)

    def check_secret(self, node: Node, name: str | None) -> None:
        """Check that a secret that a part of the document uses is declared; None: all of them."""
        if name is None:
            raise node.error("expected '$secrets.NAME': which secrets go out must be written down")
        if name not in self.secrets:
            raise node.error(f"the secret '{name}' is not declared in 'use.secrets'")

    def _timeout(
        self, timeout: DurationDefinition | Node | None, variables: Variables, scope: CompileScope
    ) -> DurationFormula | None:
        if timeout is None:
            return None
        if isinstance(timeout, Node):
            timeout = _referenced(timeout, self._definition.timeouts, "timeouts")
        return self.duration(timeout, scope, variables)


def _referenced(node: Node, known: Mapping[str, T], section: str) -> T:
    name = node.text()
    if name not in known:
        raise node.error(f"'{name}' is not defined in 'use.{section}'")
    return known[name]
