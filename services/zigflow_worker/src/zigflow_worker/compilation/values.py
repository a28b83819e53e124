"""Compiles the values of a document: expressions, templates, schemas, durations."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from stigma.contracts import json_text
from zigflow_worker.compilation.scope import RESERVED, CompileScope, Variables
from zigflow_worker.definition import DataRules, DurationDefinition, Node, SchemaResource
from zigflow_worker.expressions import (
    ExpressionSyntaxError,
    compile_expression,
    compile_template,
    is_expression,
    keys_read,
)
from zigflow_worker.loading import DocumentError, load_foreign
from zigflow_worker.program.formulas import DurationFormula, Formula, Rules
from zigflow_worker.program.schemas import Schema, SchemaError

# Weights: of an expression and each of its characters, of a schema and each value in it.
_EXPRESSION, _CHARACTER = 200, 10
_SCHEMA, _SCHEMA_VALUE = 200, 25

_ONLY_IN_CALLS = {
    "secrets": "authentications, and in the arguments and 'input.from' of calls",
    "authorization": "'output' and 'export' of calls",
}


class ValueCompiler(ABC):
    """Compiles what a task is made of besides other tasks (raises NodeError)."""

    @abstractmethod
    def weigh(self, node: Node, weight: int) -> None:
        """Count what compiling a part takes, before it is compiled."""

    def expression(
        self, node: Node, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a property that is an expression, with or without its `${}`."""
        text = node.text()
        self.weigh(node, _EXPRESSION + _CHARACTER * len(text))
        known = scope.variables.union(variables.value)
        with _syntax_errors_of(node, known):
            expression = compile_expression(text, known)
        return Formula(expression.evaluate, _names_in(text, variables, scope))

    def template(
        self, node: Node, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a value that may have expressions anywhere inside."""
        for value in json_text.values_in(node.value):
            if isinstance(value, str) and is_expression(value):
                self.weigh(node, _EXPRESSION + _CHARACTER * len(value))
        known = scope.variables.union(variables.value)
        with _syntax_errors_of(node, known):
            template = compile_template(node.value, known)
        names = () if template.constant else _names_in(json.dumps(node.value), variables, scope)
        return Formula(template.evaluate, names)

    def expression_or_template(
        self, node: Node, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a property where a string is an expression even without `${}`."""
        if isinstance(node.value, str):
            return self.expression(node, scope, variables)
        return self.template(node, scope, variables)

    def optional(
        self, node: Node | None, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula | None:
        """Compile an expression that may be absent."""
        return None if node is None else self.expression(node, scope, variables)

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

    def rules(self, rules: DataRules, variables: Variables, scope: CompileScope) -> Rules:
        """Compile `input`, `output` or `export`."""
        schema = transformation = None
        if rules.schema is not None:
            schema = self._schema(rules.schema)
        if rules.transformation is not None:
            transformation = self.expression_or_template(rules.transformation, scope, variables)
        return Rules(schema, transformation)

    def _schema(self, definition: Node | SchemaResource) -> Schema | None:
        if isinstance(definition, Node):
            return self.schema(definition)
        text = self.resource(definition)
        if text is None:
            return None
        try:
            document = load_foreign(text)
        except DocumentError as error:
            raise definition.node.error(f"the schema does not parse: {error}") from None
        if not isinstance(document, (dict, bool)):
            raise definition.node.error("expected a JSON Schema")
        return self.schema(Node(document, definition.node.pointer))

    @abstractmethod
    def resource(self, definition: SchemaResource) -> str | None:
        """Return the text of a document that was fetched; None: it still is to be."""

    def schema(self, node: Node) -> Schema:
        """Compile a JSON Schema."""
        self.weigh(node, _SCHEMA + _SCHEMA_VALUE * sum(1 for _ in json_text.values_in(node.value)))
        try:
            return Schema(node.value)
        except SchemaError as error:
            raise node.error(f"not a valid JSON Schema: {error}") from None

    def duration(
        self,
        duration: DurationDefinition,
        scope: CompileScope,
        variables: Variables = Variables.TASK,
    ) -> DurationFormula:
        """Compile a duration."""
        if duration.seconds is not None:
            return DurationFormula(duration.seconds)
        return DurationFormula(0, self.expression(duration.node, scope, variables))

    def optional_duration(
        self, duration: DurationDefinition | None, scope: CompileScope
    ) -> DurationFormula | None:
        """Compile a duration that may be absent."""
        return None if duration is None else self.duration(duration, scope)


def _names_in(text: str, variables: Variables, scope: CompileScope) -> tuple[str, ...]:
    """Return the engine's variables that a text may read.

    Too many are harmless, too few are not. One that the scope defines is not the engine's.
    """
    return tuple(name for name in variables.value if name in text and name not in scope.variables)


@contextmanager
def _syntax_errors_of(node: Node, known: frozenset[str]) -> Iterator[None]:
    try:
        yield
    except ExpressionSyntaxError as error:
        broken = _innermost(node, known)
        for variable, places in _ONLY_IN_CALLS.items():
            if variable not in known and keys_read(str(broken.value), variable):
                raise broken.error(f"'${variable}' may only be used in {places}") from None
        raise broken.error(f"invalid expression: {error}") from None


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
