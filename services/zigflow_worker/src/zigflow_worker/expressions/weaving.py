"""From jq's syntax tree to one that is safe to run.

Every name is resolved here: what is unknown or not allowed is a syntax error. Every place where
work can multiply becomes a counted builtin: iteration, alternatives, operators, collecting,
printing, updates and calls.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from zigflow_worker.expressions.engine import Key, Node
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.library import PREFIX, REFUSED, library
from zigflow_worker.expressions.metering import MAX_BITS
from zigflow_worker.expressions.trees import APPLY, BUILTIN, DEFINE

MAX_NODES = 20_000
"""Nodes of a woven expression; macros within macros multiply."""
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
    """What a macro's parameters stand for, woven already."""


def weave(node: Node, variables: frozenset[str]) -> Node:
    """Return the counted tree of a parsed expression (raises ExpressionSyntaxError)."""
    return _Weaver().weave(node, _Scope(variables))


class _Weaver:
    def __init__(self) -> None:
        self._left = MAX_NODES
        self._uncounted = 0

    def weave(self, node: Node, scope: _Scope) -> Node:
        self._left -= 1
        if self._left < 0:
            raise ExpressionSyntaxError(f"expression has more than {MAX_NODES} operations")
        before = self._uncounted
        self._uncounted += 1
        handler: Callable[[Node, _Scope], Node] = getattr(self, f"_weave_{node[0]}", self._leaf)
        woven = handler(node, scope)
        work = self._uncounted - before
        if work < _STRAIGHT:
            return woven
        self._uncounted = before
        return ("pipe", _builtin("charge", ("const", work // 8)), woven)

    def _leaf(self, node: Node, _scope: _Scope) -> Node:
        if node[0] not in ("identity", "emptyarray", "loc"):
            raise ExpressionSyntaxError(f"{node[0]} is not supported")
        return node

    def _weave_const(self, node: Node, _scope: _Scope) -> Node:
        value = node[1]
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionSyntaxError("a number is out of range")
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ExpressionSyntaxError("a number is out of range")
        return node

    def _weave_var(self, node: Node, scope: _Scope) -> Node:
        if node[1] == "ENV":
            raise ExpressionSyntaxError("$ENV is not allowed: it differs between workers")
        if node[1] not in scope.variables:
            raise ExpressionSyntaxError(f"${node[1]} is not defined")
        return node

    # --- Paths --------------------------------------------------------------------------------

    def _weave_field(self, node: Node, scope: _Scope) -> Node:
        return ("field", self.weave(node[1], scope), node[2])

    def _weave_index(self, node: Node, scope: _Scope) -> Node:
        key = self.weave(node[2], scope)
        if key[0] != "const":
            key = ("pipe", key, _builtin("key"))
        return ("index", self.weave(node[1], scope), key)

    def _weave_slice(self, node: Node, scope: _Scope) -> Node:
        bounds = [None if bound is None else self.weave(bound, scope) for bound in node[2:]]
        return ("pipe", ("slice", self.weave(node[1], scope), *bounds), _builtin("sized"))

    def _weave_iterate(self, node: Node, scope: _Scope) -> Node:
        return ("iterate", ("pipe", self.weave(node[1], scope), _builtin("loop")))

    # --- Control ------------------------------------------------------------------------------

    def _both(self, node: Node, scope: _Scope) -> Node:
        return (node[0], self.weave(node[1], scope), self.weave(node[2], scope))

    _weave_pipe = _weave_and = _weave_or = _both

    def _weave_comma(self, node: Node, scope: _Scope) -> Node:
        return ("pipe", self._both(node, scope), _builtin("step"))

    def _weave_neg(self, node: Node, scope: _Scope) -> Node:
        return ("neg", self.weave(node[1], scope))

    def _weave_opt(self, node: Node, scope: _Scope) -> Node:
        return _quiet(self.weave(node[1], scope))

    def _weave_try(self, node: Node, scope: _Scope) -> Node:
        body = self.weave(node[1], scope)
        if node[2] is None:
            return _quiet(body)
        return ("try", body, ("pipe", _builtin("caught"), self.weave(node[2], scope)))

    def _weave_alt(self, node: Node, scope: _Scope) -> Node:
        return ("alt", _quiet(self.weave(node[1], scope)), self.weave(node[2], scope))

    def _weave_if(self, node: Node, scope: _Scope) -> Node:
        branches = [(self.weave(test, scope), self.weave(then, scope)) for test, then in node[1]]
        return ("if", branches, None if node[2] is None else self.weave(node[2], scope))

    def _weave_label(self, node: Node, scope: _Scope) -> Node:
        inner = replace(scope, labels=scope.labels | {node[1]})
        return ("label", node[1], self.weave(node[2], inner))

    def _weave_break(self, node: Node, scope: _Scope) -> Node:
        if node[1] not in scope.labels:
            raise ExpressionSyntaxError(f"label ${node[1]} is not defined")
        return node

    # --- Bindings -----------------------------------------------------------------------------

    def _weave_as(self, node: Node, scope: _Scope) -> Node:
        _, source, patterns, body = node
        woven, inner = self._patterns(patterns, scope)
        return ("as", self.weave(source, scope), woven, self.weave(body, inner))

    def _weave_reduce(self, node: Node, scope: _Scope) -> Node:
        _, source, patterns, init, *updates = node
        woven, inner = self._patterns(patterns, scope)
        rest = [None if update is None else self.weave(update, inner) for update in updates]
        return (node[0], self.weave(source, scope), woven, self.weave(init, scope), *rest)

    _weave_foreach = _weave_reduce

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
            (self.weave(key, scope), self._pattern(value, scope), name)
            for key, value, name in pattern[1]
        ]
        return ("pobject", entries)

    # --- Values -------------------------------------------------------------------------------

    def _weave_binop(self, node: Node, scope: _Scope) -> Node:
        _, operator, left, right = node
        operands = [self.weave(left, scope), self.weave(right, scope)]
        if operator not in _OPERATORS and any(operand[0] == "const" for operand in operands):
            return ("binop", operator, *operands)  # as cheap as the constant is short
        return _builtin(operator, *operands)

    def _weave_collect(self, node: Node, scope: _Scope) -> Node:
        return _builtin("collect", self.weave(node[1], scope))

    def _weave_object(self, node: Node, scope: _Scope) -> Node:
        entries = [(self.weave(key, scope), self.weave(value, scope)) for key, value in node[1]]
        return ("pipe", ("object", entries), _builtin("charge", ("const", 1 + len(entries) // 4)))

    def _weave_str(self, node: Node, scope: _Scope) -> Node:
        _, name, parts = node
        _check_format(name or "text")
        woven = [
            part
            if isinstance(part, str)
            else ("pipe", self.weave(part, scope), _builtin("printable"))
            for part in parts
        ]
        return ("pipe", ("str", name, woven), _builtin("sized"))

    def _weave_format(self, node: Node, _scope: _Scope) -> Node:
        _check_format(node[1])
        return _builtin("format", ("const", node[1]))

    def _weave_assign(self, node: Node, scope: _Scope) -> Node:
        _, operator, places, value = node
        target = self.weave(places, scope)
        if operator in ("=", "|="):
            name = "assign" if operator == "=" else "update"
            return _builtin(name, target, self.weave(value, scope))
        operand = f"{PREFIX}operand"
        combined: Node = (
            ("alt", _IDENTITY, ("var", operand))
            if operator == "//="
            else _builtin(operator[:-1], _IDENTITY, ("var", operand))
        )
        update = _builtin("update", target, combined)
        return ("as", self.weave(value, scope), [("pvar", operand)], update)

    # --- Functions ----------------------------------------------------------------------------

    def _weave_funcdef(self, node: Node, scope: _Scope) -> Node:
        _, name, params, body, rest = node
        outer = replace(scope, functions=scope.functions | {(name, len(params))})
        inner = replace(
            outer,
            functions=outer.functions | {(param.removeprefix("$"), 0) for param in params},
            variables=outer.variables | {param[1:] for param in params if param.startswith("$")},
        )
        return (DEFINE, name, params, self.weave(body, inner), self.weave(rest, outer))

    def _weave_call(self, node: Node, scope: _Scope) -> Node:
        _, name, args = node
        key = (name, len(args))
        if key in scope.functions:
            return (APPLY, key, [self.weave(arg, scope) for arg in args])
        if key in scope.arguments:
            self._left -= 1
            return scope.arguments[key]
        if key in library().macros:
            return self._expand(key, [self.weave(arg, scope) for arg in args])
        if key in library().callable:
            return _builtin(name, *[self.weave(arg, scope) for arg in args])
        if name in REFUSED:
            raise ExpressionSyntaxError(f"{name} is not allowed: a workflow must be deterministic")
        raise ExpressionSyntaxError(f"{name}/{len(args)} is not defined")

    def _expand(self, key: Key, args: list[Node]) -> Node:
        params, body = library().macros[key]
        arguments = {(param, 0): arg for param, arg in zip(params, args, strict=True)}
        names: set[str] = set()
        _collect_names(body, names)
        return self.weave(body, _Scope(frozenset(names), arguments=arguments))


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
