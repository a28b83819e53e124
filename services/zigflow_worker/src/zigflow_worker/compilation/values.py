"""Compiles the values of a document: expressions, templates, schemas, durations."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod

from stigma.contracts import json_text
from zigflow_worker.compilation.broken_expressions import broken_expressions
from zigflow_worker.compilation.scope import RESERVED, UNKNOWN, CompileScope, Variables
from zigflow_worker.definition import (
    DataRules,
    DurationDefinition,
    Node,
    ProblemCollector,
    SchemaResource,
)
from zigflow_worker.expressions import (
    ExpressionSyntaxError,
    compile_expression,
    compile_template,
    is_expression,
)
from zigflow_worker.loading import DocumentError, load_foreign
from zigflow_worker.program.formulas import DurationFormula, Formula, Rules
from zigflow_worker.program.schemas import Schema, SchemaError, schema_mistakes

# Weights: of an expression and each of its characters, of a schema and each value in it.
_EXPRESSION, _CHARACTER = 200, 10
_SCHEMA, _SCHEMA_VALUE = 200, 25

_NOTHING = Formula(lambda _input, _variables, _budget: None, ())
"""Stands for a formula that cannot be compiled, where every problem is wanted."""


class ValueCompiler(ProblemCollector, ABC):
    """Compiles what a task is made of besides other tasks (raises NodeError)."""

    @property
    @abstractmethod
    def has_expressions(self) -> bool:
        """Its expressions are jq."""

    @abstractmethod
    def weigh(self, node: Node, weight: int) -> None:
        """Count what compiling a part takes, before it is compiled."""

    def expression(
        self, node: Node, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a property that is an expression, with or without its `${}`."""
        with self.part():
            text = node.text()
            self.weigh(node, _EXPRESSION + _CHARACTER * len(text))
            known = scope.variables.union(variables.value)
            try:
                expression = compile_expression(text, known)
            except ExpressionSyntaxError as error:
                self._report_expressions(node, known, str(error))
            else:
                return Formula(expression.evaluate, _names_in(text, variables, scope))
        return _NOTHING

    def template(
        self, node: Node, scope: CompileScope, variables: Variables = Variables.TASK
    ) -> Formula:
        """Compile a value that may have expressions anywhere inside."""
        for value in json_text.values_in(node.value):
            if isinstance(value, str) and is_expression(value):
                self.weigh(node, _EXPRESSION + _CHARACTER * len(value))
        known = scope.variables.union(variables.value)
        try:
            template = compile_template(node.value, known)
        except ExpressionSyntaxError as error:
            self._report_expressions(node, known, str(error))
            return _NOTHING
        names = () if template.constant else _names_in(json.dumps(node.value), variables, scope)
        return Formula(template.evaluate, names)

    def _report_expressions(self, node: Node, known: frozenset[str], problem: str) -> None:
        """Raise the first mistake in the expressions of a value, or report all of them."""
        if not self.has_expressions:
            return
        errors = broken_expressions(node, known) or [node.error(f"invalid expression: {problem}")]
        for error in errors:
            with self.part():
                raise error

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
        with self.part():
            name = node.text().removeprefix("$")
            if name in RESERVED:
                raise node.error(f"'{name}' is a variable of the language")
            if not name.replace("_", "a").isalnum() or name[0].isdigit() or not name.isascii():
                raise node.error(f"'{name}' is not a variable name: letters, digits and _ only")
            return name
        return UNKNOWN

    def rules(self, rules: DataRules, variables: Variables, scope: CompileScope) -> Rules:
        """Compile `input`, `output` or `export`."""
        schema = transformation = None
        if rules.schema is not None:
            with self.part():
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
        with self.part():
            try:
                return Schema(node.value)
            except SchemaError as error:
                self._report_schema(node, str(error))
        return Schema(True)

    def _report_schema(self, node: Node, problem: str) -> None:
        """Raise what is wrong with a schema, or report all of it, each at its place."""
        mistakes = [] if self.every is None else schema_mistakes(node.value)
        for path, mistake in mistakes or [((), problem)]:
            part = node
            for key in path:
                part = part.child(key)
            with self.part():
                raise part.error(f"not a valid JSON Schema: {mistake}")

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
