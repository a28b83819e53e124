"""Rewrites jq's syntax tree so that its work is metered.

Every name is resolved here: what is unknown or not allowed is a syntax error. Every place where
work can multiply becomes a counted builtin: iteration, alternatives, operators, collecting,
printing, updates and calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from zigflow_worker.expressions.ast_limits import APPLY, BUILTIN, DEFINE
from zigflow_worker.expressions.engine import Key, Node
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.library import PREFIX, REFUSED, library
from zigflow_worker.expressions.metering import MAX_BITS

MAX_NODES = 20_000
"""Nodes of an instrumented expression; macros within macros multiply."""
_STRAIGHT = 16
"""Nodes in a row that may run for nothing: a long line of cheap work is not cheap."""
_OPERATORS = frozenset({"+", "-", "*", "/", "%"})
_FORMATS = frozenset(
    {"text", "json", "html", "uri", "urid", "csv", "tsv", "sh", "base64", "base64d"}
)
_IDENTITY: Node = ("identity",)


@dataclass(frozen=True, slots=True)
class _Scope:
    """The names that mean something at one place."""

    variables: frozenset[str]
    functions: frozenset[Key] = frozenset()
    labels: frozenset[str] = frozenset()
    arguments: Mapping[Key, Node] = field(default_factory=dict)
    """Arguments of a macro's parameters, instrumented already."""


def instrument(node: Node, variables: frozenset[str]) -> Node:
    """Return the counted tree of a parsed expression (raises ExpressionSyntaxError)."""
    return _Instrumenter().instrument(node, _Scope(variables))


class _Instrumenter:
    def __init__(self) -> None:
        self._left = MAX_NODES
        self._uncounted = 0

    def instrument(self, node: Node, scope: _Scope) -> Node:
        self._left -= 1
        if self._left < 0:
            raise ExpressionSyntaxError(f"expression has more than {MAX_NODES} operations")
        before = self._uncounted
        self._uncounted += 1
        handler: Callable[[Node, _Scope], Node] = getattr(self, f"_visit_{node[0]}", self._leaf)
        instrumented = handler(node, scope)
        work = self._uncounted - before
        if work < _STRAIGHT:
            return instrumented
        self._uncounted = before
        return ("pipe", _builtin("charge", ("const", work // 8)), instrumented)

    def _leaf(self, node: Node, _scope: _Scope) -> Node:
        if node[0] not in ("identity", "emptyarray", "loc"):
            raise ExpressionSyntaxError(f"{node[0]} is not supported")
        return node

    def _visit_const(self, node: Node, _scope: _Scope) -> Node:
        value = node[1]
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionSyntaxError("a number is out of range")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ExpressionSyntaxError("a number is out of range")
        return node

    def _visit_var(self, node: Node, scope: _Scope) -> Node:
        if node[1] == "ENV":
            raise ExpressionSyntaxError("$ENV is not allowed: it differs between workers")
        if node[1] not in scope.variables:
            raise ExpressionSyntaxError(f"${node[1]} is not defined")
        return node

    # --- Paths --------------------------------------------------------------------------------

    def _visit_field(self, node: Node, scope: _Scope) -> Node:
        return ("field", self.instrument(node[1], scope), node[2])

    def _visit_index(self, node: Node, scope: _Scope) -> Node:
        key = self.instrument(node[2], scope)
        if key[0] != "const":
            key = ("pipe", key, _builtin("key"))
        return ("index", self.instrument(node[1], scope), key)

    def _visit_slice(self, node: Node, scope: _Scope) -> Node:
        bounds = [None if bound is None else self.instrument(bound, scope) for bound in node[2:]]
        return ("pipe", ("slice", self.instrument(node[1], scope), *bounds), _builtin("sized"))

    def _visit_iterate(self, node: Node, scope: _Scope) -> Node:
        return ("iterate", ("pipe", self.instrument(node[1], scope), _builtin("loop")))

    # --- Control ------------------------------------------------------------------------------

    def _both(self, node: Node, scope: _Scope) -> Node:
        return (node[0], self.instrument(node[1], scope), self.instrument(node[2], scope))

    _visit_pipe = _visit_and = _visit_or = _both

    def _visit_comma(self, node: Node, scope: _Scope) -> Node:
        return ("pipe", self._both(node, scope), _builtin("step"))

    def _visit_neg(self, node: Node, scope: _Scope) -> Node:
        return ("neg", self.instrument(node[1], scope))

    def _visit_opt(self, node: Node, scope: _Scope) -> Node:
        return _quiet(self.instrument(node[1], scope))

    def _visit_try(self, node: Node, scope: _Scope) -> Node:
        body = self.instrument(node[1], scope)
        if node[2] is None:
            return _quiet(body)
        return ("try", body, ("pipe", _builtin("caught"), self.instrument(node[2], scope)))

    def _visit_alt(self, node: Node, scope: _Scope) -> Node:
        return ("alt", _quiet(self.instrument(node[1], scope)), self.instrument(node[2], scope))

    def _visit_if(self, node: Node, scope: _Scope) -> Node:
        branches = [
            (self.instrument(test, scope), self.instrument(then, scope)) for test, then in node[1]
        ]
        return ("if", branches, None if node[2] is None else self.instrument(node[2], scope))

    def _visit_label(self, node: Node, scope: _Scope) -> Node:
        inner = replace(scope, labels=scope.labels | {node[1]})
        return ("label", node[1], self.instrument(node[2], inner))

    def _visit_break(self, node: Node, scope: _Scope) -> Node:
        if node[1] not in scope.labels:
            raise ExpressionSyntaxError(f"label ${node[1]} is not defined")
        return node

    # --- Bindings -----------------------------------------------------------------------------

    def _visit_as(self, node: Node, scope: _Scope) -> Node:
        _, source, patterns, body = node
        instrumented, inner = self._patterns(patterns, scope)
        return ("as", self.instrument(source, scope), instrumented, self.instrument(body, inner))

    def _visit_reduce(self, node: Node, scope: _Scope) -> Node:
        _, source, patterns, init, *updates = node
        instrumented, inner = self._patterns(patterns, scope)
        rest = [None if update is None else self.instrument(update, inner) for update in updates]
        return (
            node[0],
            self.instrument(source, scope),
            instrumented,
            self.instrument(init, scope),
            *rest,
        )

    _visit_foreach = _visit_reduce

    def _patterns(self, patterns: list[Node], scope: _Scope) -> tuple[list[Node], _Scope]:
        names: set[str] = set()
        for pattern in patterns:
            _collect_names(pattern, names)
        inner = replace(scope, variables=scope.variables | names)
        return [self._pattern(pattern, scope) for pattern in patterns], inner

    def _pattern(self, pattern: Node, scope: _Scope) -> Node:
        if pattern[0] == "pvar":
            return pattern
        if pattern[0] == "parray":
            return ("parray", [self._pattern(item, scope) for item in pattern[1]])
        entries = [
            (self.instrument(key, scope), self._pattern(value, scope), name)
            for key, value, name in pattern[1]
        ]
        return ("pobject", entries)

    # --- Values -------------------------------------------------------------------------------

    def _visit_binop(self, node: Node, scope: _Scope) -> Node:
        _, operator, left, right = node
        operands = [self.instrument(left, scope), self.instrument(right, scope)]
        if operator not in _OPERATORS and any(operand[0] == "const" for operand in operands):
            return ("binop", operator, *operands)  # as cheap as the constant is short
        return _builtin(operator, *operands)

    def _visit_collect(self, node: Node, scope: _Scope) -> Node:
        return _builtin("collect", self.instrument(node[1], scope))

    def _visit_object(self, node: Node, scope: _Scope) -> Node:
        entries = [
            (self.instrument(key, scope), self.instrument(value, scope)) for key, value in node[1]
        ]
        return ("pipe", ("object", entries), _builtin("charge", ("const", 1 + len(entries) // 4)))

    def _visit_str(self, node: Node, scope: _Scope) -> Node:
        _, name, parts = node
        _check_format(name or "text")
        instrumented = [
            part
            if isinstance(part, str)
            else ("pipe", self.instrument(part, scope), _builtin("printable"))
            for part in parts
        ]
        return ("pipe", ("str", name, instrumented), _builtin("sized"))

    def _visit_format(self, node: Node, _scope: _Scope) -> Node:
        _check_format(node[1])
        return _builtin("format", ("const", node[1]))

    def _visit_assign(self, node: Node, scope: _Scope) -> Node:
        _, operator, places, value = node
        target = self.instrument(places, scope)
        if operator in ("=", "|="):
            name = "assign" if operator == "=" else "update"
            return _builtin(name, target, self.instrument(value, scope))
        operand = f"{PREFIX}operand"
        combined: Node = (
            ("alt", _IDENTITY, ("var", operand))
            if operator == "//="
            else _builtin(operator[:-1], _IDENTITY, ("var", operand))
        )
        update = _builtin("update", target, combined)
        return ("as", self.instrument(value, scope), [("pvar", operand)], update)

    # --- Functions ----------------------------------------------------------------------------

    def _visit_funcdef(self, node: Node, scope: _Scope) -> Node:
        _, name, params, body, rest = node
        outer = replace(scope, functions=scope.functions | {(name, len(params))})
        inner = replace(
            outer,
            functions=outer.functions | {(param.removeprefix("$"), 0) for param in params},
            variables=outer.variables | {param[1:] for param in params if param.startswith("$")},
        )
        return (DEFINE, name, params, self.instrument(body, inner), self.instrument(rest, outer))

    def _visit_call(self, node: Node, scope: _Scope) -> Node:
        _, name, args = node
        key = (name, len(args))
        if key in scope.functions:
            return (APPLY, key, [self.instrument(arg, scope) for arg in args])
        if key in scope.arguments:
            self._left -= 1
            return scope.arguments[key]
        if key in library().macros:
            return self._expand(key, [self.instrument(arg, scope) for arg in args])
        if key in library().callable:
            return _builtin(name, *[self.instrument(arg, scope) for arg in args])
        if name in REFUSED:
            raise ExpressionSyntaxError(f"{name} is not allowed: a workflow must be deterministic")
        raise ExpressionSyntaxError(f"{name}/{len(args)} is not defined")

    def _expand(self, key: Key, args: list[Node]) -> Node:
        params, body = library().macros[key]
        arguments = {(param, 0): arg for param, arg in zip(params, args, strict=True)}
        names: set[str] = set()
        _collect_names(body, names)
        return self.instrument(body, _Scope(frozenset(names), arguments=arguments))


def _builtin(name: str, *args: Node) -> Node:
    return (BUILTIN, (name, len(args)), list(args))


def _quiet(node: Node) -> Node:
    """Return a filter without its errors, each of which is counted."""
    return ("try", node, ("pipe", _builtin("caught"), _builtin("empty")))


def _check_format(name: str) -> None:
    if name not in _FORMATS:
        raise ExpressionSyntaxError(f"@{name} is not a format")


def _collect_names(part: object, names: set[str]) -> None:
    """Gather the variables that patterns anywhere in `part` bind."""
    if isinstance(part, tuple) and part[:1] == ("pvar",):
        names.add(part[1])
    elif isinstance(part, (tuple, list)):
        for item in part:
            _collect_names(item, names)
        if isinstance(part, tuple) and len(part) == 2 and part[0] == "pobject":
            names.update(name for _, _, name in part[1] if name is not None)
