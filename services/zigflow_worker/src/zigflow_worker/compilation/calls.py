"""Compiles calls of the outside: what names `$secrets` is left to the activity."""

from __future__ import annotations

from stigma.contracts.engine_calls import DeferredValue
from zigflow_worker.compilation.call_rules import (
    AUTHORIZATION,
    SECRETS,
    reads,
    reads_authorization,
)
from zigflow_worker.compilation.compiler import Compiler
from zigflow_worker.compilation.scope import CompileScope, Variables
from zigflow_worker.definition import DataRules, Node, TaskDefinition
from zigflow_worker.expressions import JSON, is_expression, keys_read
from zigflow_worker.program.calls import CallFormula
from zigflow_worker.program.formulas import Formula

AUTHENTICATION = "authentication"
"""First key of the paths of deferred values in an authentication."""


class CallCompiler:
    """Compiles the call of one task (raises NodeError)."""

    def __init__(self, compiler: Compiler, scope: CompileScope, task: TaskDefinition) -> None:
        self._compiler = compiler
        self._scope = scope
        self._task = task
        self._defers_all = reads(task.input.transformation, SECRETS)
        self._is_authorized = reads_authorization(task)
        self._deferred: list[DeferredValue] = []
        self._sources: list[tuple[Node, Variables]] = []

    def compile(self, arguments: Node, authentication: Node | None = None) -> CallFormula:
        """Compile the task's arguments and its authentication, which may be a reference."""
        policy = None
        if authentication is not None:
            policy = self._template(
                self._compiler.authentication(authentication), (AUTHENTICATION,)
            )
        return CallFormula(
            arguments=self._template(arguments, ()),
            authentication=policy,
            deferred=tuple(self._deferred),
            input_from=self._input_from(),
            output_as=self._rule(self._task.output),
            export_as=self._rule(self._task.export),
            secrets=self._compiler.secrets,
            variables=self._variables(),  # of all the sources above
        )

    def _template(self, node: Node, path: tuple[str | int, ...]) -> Formula:
        run_part = Node(self._without_deferred(node, path), node.pointer)
        return self._compiler.template(run_part, self._scope)

    def _without_deferred(self, node: Node, path: tuple[str | int, ...]) -> JSON:
        value = node.value
        if isinstance(value, str):
            return self._text(node, value, path)
        if not isinstance(value, (dict, list)):
            return value
        parts = {
            key: self._without_deferred(node.child(key), (*path, key))
            for key in (value if isinstance(value, dict) else range(len(value)))
        }
        return parts if isinstance(value, dict) else list(parts.values())  # type: ignore[return-value]

    def _text(self, node: Node, text: str, path: tuple[str | int, ...]) -> JSON:
        if not is_expression(text):
            return text
        if not self._defers_all and not keys_read(text, SECRETS):
            return text
        self._check(node, Variables.TASK, SECRETS)
        self._deferred.append(DeferredValue(path=path, template=text))
        return None

    def _input_from(self) -> JSON:
        node = self._task.input.transformation
        if node is None or not self._defers_all:
            return None
        self._check(node, Variables.TASK_START, SECRETS)
        return node.value

    def _rule(self, rules: DataRules) -> JSON:
        node = rules.transformation
        if node is None or not self._is_authorized:
            return None
        self._check(node, Variables.TASK_EXPORT, AUTHORIZATION)
        return node.value

    def _check(self, node: Node, variables: Variables, more: str) -> None:
        """Compile what the activity evaluates, for its mistakes."""
        self._compiler.check_secrets(node)
        scope = self._scope.defining(more)
        self._compiler.expression_or_template(node, scope, variables)
        self._sources.append((node, variables))

    def _variables(self) -> Formula:
        """Return what makes the variables that the activity cannot know."""
        # `$input` is that before `input.from` where the activity evaluates it: the rules have it.
        made_there = {"output", SECRETS, AUTHORIZATION}
        text = " ".join(str(node.value) for node, _ in self._sources)
        known = self._scope.variables.union(*(kind.value for _, kind in self._sources))
        names = sorted(name for name in known - made_there if name and name in text)
        template: JSON = {name: f"${{ ${name} }}" for name in names}
        return self._compiler.template(
            Node(template, self._task.node.pointer), self._scope, Variables.TASK
        )
