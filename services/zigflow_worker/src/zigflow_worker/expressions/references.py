"""Compiles what names something: functions, variables, formats and labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

from zigflow_worker.expressions import build, builtins, catching, definitions, functions, syntax
from zigflow_worker.expressions.builtins.formats import FORMATS
from zigflow_worker.expressions.code import Code, one
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.functions import Function
from zigflow_worker.expressions.growth import Growth
from zigflow_worker.expressions.names import Key, Names
from zigflow_worker.expressions.pipes import identity
from zigflow_worker.expressions.scopes import bound_value, given_variable
from zigflow_worker.expressions.syntax import Node

_REFUSED = frozenset(
    {
        *("$ENV", "env", "$__prog_args", "builtins", "get_search_list", "modulemeta"),
        *("get_jq_origin", "get_prog_origin", "now", "localtime", "strflocaltime"),
        *("input", "inputs", "input_filename", "input_line_number", "import", "include"),
        *("debug", "stderr", "halt", "halt_error"),
    }
)
"""Names of jq that read the world or the clock, do I/O, or differ from one version to another."""


class ReferenceCompiler(ABC):
    """The part of the compiler that finds what names mean."""

    def __init__(self, mistakes: list[ExpressionSyntaxError] | None = None) -> None:
        self._mistakes = mistakes
        self.growth = Growth()

    @abstractmethod
    def compile(self, node: Node, names: Names) -> Code:
        """Compile a node."""

    @abstractmethod
    def compile_all(self, nodes: list[Node], names: Names) -> list[Code]:
        """Compile nodes, each by itself."""

    @abstractmethod
    def defined(self, key: Key) -> Function:
        """Return a builtin that is written in jq."""

    def _call(self, node: syntax.Call, names: Names) -> Code:
        key = (node.name, len(node.arguments))
        known = names.functions.get(key)
        if isinstance(known, int):
            if known < 0:
                return one(bound_value(names.level + known))
            return functions.parameter(names.level - known)
        if known is not None:
            arguments = self.compile_all(node.arguments, names)
            return functions.call(known, names.level - known.level, arguments)
        return self._call_builtin(node, key, names)

    def _call_builtin(self, node: syntax.Call, key: Key, names: Names) -> Code:
        if node.name in _REFUSED:
            return self._refuse(f"{node.name} is not allowed in expressions", node.place)
        self.growth.calls(node.name)
        filter_of = builtins.FILTERS.get(key)
        if filter_of is not None:
            return filter_of(*self.compile_all(node.arguments, names))
        function = builtins.FUNCTIONS.get(key)
        if function is not None:
            return build.applied(function, self.compile_all(node.arguments, names))
        if key not in definitions.by_key():
            unknown = self._refuse_function(node, names)
            self.compile_all(node.arguments, names)
            return unknown
        arguments = self.compile_all(node.arguments, names)
        return functions.call(self.defined(key), names.level, arguments)

    def _variable(self, node: syntax.Variable, names: Names) -> Code:
        self.growth.reads = True
        level = names.variables.get(node.name)
        if level is not None:
            return one(bound_value(names.level - level))
        if node.name[1:] in names.given:
            return one(given_variable(names.level, node.name[1:]))
        if node.name in _REFUSED:
            return self._refuse(f"{node.name} is not allowed in expressions", node.place)
        return self._refuse(
            f"{node.name} is not defined", node.place, node.name, self._variables(names)
        )

    def _refuse_function(self, node: syntax.Call, names: Names) -> Code:
        """Refuse a function that is not known, or not with so many arguments."""
        count = len(node.arguments)
        known = [*names.functions, *builtins.FILTERS, *builtins.FUNCTIONS, *definitions.by_key()]
        counts = sorted({taken for name, taken in known if name == node.name})
        problem = f"{node.name}/{count} is not defined"
        if counts:
            takes = " or ".join(map(str, counts))
            problem = f"{problem}: {node.name} takes {takes} arguments, separated by ';'"
        return self._refuse(
            problem,
            node.place,
            node.name,
            () if counts else dict.fromkeys(name for name, _ in known),
        )

    def _refuse(
        self, problem: str, place: int, name: str = "", known: Collection[str] = ()
    ) -> Code:
        """Return what stands for a name that is not known, where all mistakes are wanted."""
        mistake = ExpressionSyntaxError(problem, place, name=name, known=known)
        if self._mistakes is None:
            raise mistake
        self._mistakes.append(mistake)
        return identity()

    def _variables(self, names: Names) -> list[str]:
        return [*names.variables, *(f"${name}" for name in sorted(names.given))]

    def _format_named(self, name: str, place: int) -> Any:
        if name not in FORMATS:
            self._refuse(f"@{name} is not a format", place, name, FORMATS)
        return FORMATS.get(name, FORMATS["text"])

    def _break(self, node: syntax.BreakOut, names: Names) -> Code:
        level = names.labels.get(node.name)
        if level is None:
            return self._refuse(
                f"label {node.name} is not defined", node.place, node.name, names.labels
            )
        return catching.break_out(names.level - level)
