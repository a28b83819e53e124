"""Compiles syntax trees: names are resolved here, and what is refused is refused here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from zigflow_worker.expressions import (
    binding,
    build,
    builtins,
    catching,
    definitions,
    flow,
    functions,
    steps,
    syntax,
    updates,
)
from zigflow_worker.expressions.arithmetic import OPERATIONS, negate
from zigflow_worker.expressions.binding import Binder, Match
from zigflow_worker.expressions.budget import MAX_HEIGHT
from zigflow_worker.expressions.builtins.formats import FORMATS
from zigflow_worker.expressions.code import Code, many, one, turn
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.functions import Function
from zigflow_worker.expressions.names import Key, Names
from zigflow_worker.expressions.parser import parse, too_deep
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.syntax import Node
from zigflow_worker.expressions.values import COMPARISONS, is_number

_REFUSED = frozenset(
    {
        *("$ENV", "env", "$__prog_args", "builtins", "get_search_list", "modulemeta"),
        *("get_jq_origin", "get_prog_origin", "now", "localtime", "strflocaltime"),
        *("input", "inputs", "input_filename", "input_line_number", "import", "include"),
        *("debug", "stderr", "halt", "halt_error"),
    }
)
"""Names of jq that read the world or the clock, do I/O, or differ from one version to another."""
_OPERATIONS = {**OPERATIONS, **COMPARISONS}
_FEW = 4
_PROJECTIONS = frozenset(
    {
        *("map", "select", "length", "keys", "has", "not", "type", "tostring", "tonumber", "empty"),
        *("test", "startswith", "endswith", "ascii_downcase", "ascii_upcase", "floor", "round"),
        *("sort_by", "group_by", "unique_by", "min_by", "max_by", "sort", "unique", "add", "join"),
        *("first", "last", "to_entries", "from_entries", "with_entries", "split", "reverse"),
    }
)
"""Builtins that yield no more than is in their input."""
_LOOPS = frozenset(("until", "while", "repeat", "recurse", "walk"))


def compile_source(
    source: str, given: frozenset[str], mistakes: list[str] | None = None
) -> tuple[Code, bool]:
    """Compile an expression that may read the variables `given` (raises ExpressionSyntaxError).

    With a list of `mistakes`, names that are not known are added to it instead.

    Return also whether a result may be far larger than the data it is made of, by sharing parts.
    """
    compiler = _Compiler(mistakes)
    code = compiler.compile(parse(source), Names(given))
    if code.height > MAX_HEIGHT:
        raise too_deep()
    return code, compiler.may_grow


@cache
def _definitions() -> Mapping[Key, syntax.Definition]:
    """Return the builtins that are written in jq."""
    found: dict[Key, syntax.Definition] = {}
    node = parse(definitions.SOURCE)
    while isinstance(node, syntax.Definition):
        found[node.name, len(node.parameters)] = node
        node = node.rest
    return found


@cache
def _defined(key: Key) -> Function:
    """Return a builtin that is written in jq, compiled when it is first used."""
    node = _definitions()[key]
    function = Function(0, node.parameters)
    _Compiler().define(function, node, Names(frozenset()).with_function(node.name, function))
    return function


class _Compiler:
    """Compiles the nodes of one expression."""

    def __init__(self, mistakes: list[str] | None = None) -> None:
        self._mistakes = mistakes
        self._loops = self._collects = self._reads = False
        self._builders = 0
        self._kinds: dict[type[Node], Callable[[Any, Names], Code]] = {
            syntax.Identity: lambda _node, _names: flow.identity(),
            syntax.Constant: lambda node, _names: flow.constant(node.value),
            syntax.Path: self._path,
            syntax.Call: self._call,
            syntax.Variable: self._variable,
            syntax.Sequence: self._sequence,
            syntax.Arithmetic: self._arithmetic,
            syntax.Construct: self._construct,
            syntax.Collect: self._collect,
            syntax.If: self._if,
            syntax.Try: self._try,
            syntax.Bind: self._bind,
            syntax.Fold: self._fold,
            syntax.Interpolation: self._interpolation,
            syntax.Format: self._format,
            syntax.Update: self._update,
            syntax.Definition: self._definition,
            syntax.Negate: self._negate,
            syntax.Label: self._label,
            syntax.BreakOut: self._break,
        }

    @property
    def may_grow(self) -> bool:
        """Whether values may be put together of shared parts again and again."""
        return self._loops or self._builders > _FEW or (self._collects and self._reads)

    def compile(self, node: Node, names: Names) -> Code:
        """Compile a node."""
        return self._kinds[type(node)](node, names)

    def _compile_all(self, nodes: list[Node], names: Names) -> list[Code]:
        kinds = self._kinds
        return [kinds[type(node)](node, names) for node in nodes]

    def _path(self, node: syntax.Path, names: Names) -> Code:
        code = self.compile(node.subject, names)
        parts = node.steps
        keys: list[str] = []
        if isinstance(node.subject, syntax.Identity):
            for part in parts:
                key = _constant_name(part)
                if key is None:
                    break
                keys.append(key)
        if keys:
            code = steps.names(keys)
        for part in parts[len(keys) :]:
            code = self._step(code, part, names)
        return code

    def _step(self, code: Code, step: syntax.Step, names: Names) -> Code:
        if isinstance(step, syntax.IterateStep):
            return steps.iterate_step(code, guarded=step.guarded)
        if isinstance(step, syntax.SliceStep):
            absent = flow.constant(None)
            first = self.compile(step.first, names) if step.first is not None else absent
            last = self.compile(step.last, names) if step.last is not None else absent
            return steps.slice_step(code, first, last, guarded=step.guarded)
        assert isinstance(step, syntax.IndexStep)  # noqa: S101 - for the type checker
        key = _constant_name(step)
        if key is not None and code.single is not None:
            return steps.name_step(code, key)
        return steps.key_step(code, self.compile(step.key, names), guarded=step.guarded)

    def _call(self, node: syntax.Call, names: Names) -> Code:
        key = (node.name, len(node.arguments))
        known = names.functions.get(key)
        if isinstance(known, int):
            if known < 0:
                return one(flow.bound_value(names.level + known))
            return functions.parameter(names.level - known)
        if known is not None:
            arguments = self._compile_all(node.arguments, names)
            return functions.call(known, names.level - known.level, arguments)
        return self._call_builtin(node, key, names)

    def _call_builtin(self, node: syntax.Call, key: Key, names: Names) -> Code:
        if node.name in _REFUSED:
            return self._refuse(f"{node.name} is not allowed in expressions")
        self._reads = self._reads or node.name not in _PROJECTIONS
        self._loops = self._loops or node.name in _LOOPS
        self._collects = self._collects or node.name == "map"
        self._builders += node.name == "map"
        filter_of = builtins.FILTERS.get(key)
        if filter_of is not None:
            return filter_of(*self._compile_all(node.arguments, names))
        function = builtins.FUNCTIONS.get(key)
        if function is not None:
            return build.applied(function, self._compile_all(node.arguments, names))
        if key not in _definitions():
            unknown = self._refuse(f"{node.name}/{key[1]} is not defined")
            self._compile_all(node.arguments, names)
            return unknown
        arguments = self._compile_all(node.arguments, names)
        return functions.call(_defined(key), names.level, arguments)

    def _variable(self, node: syntax.Variable, names: Names) -> Code:
        self._reads = True
        level = names.variables.get(node.name)
        if level is not None:
            return one(flow.bound_value(names.level - level))
        if node.name[1:] in names.given:
            return one(flow.given_variable(names.level, node.name[1:]))
        if node.name in _REFUSED:
            return self._refuse(f"{node.name} is not allowed in expressions")
        return self._refuse(f"{node.name} is not defined")

    def _refuse(self, mistake: str) -> Code:
        """Return what stands for a name that is not known, where all mistakes are wanted."""
        if self._mistakes is None:
            raise ExpressionSyntaxError(mistake)
        self._mistakes.append(mistake)
        return flow.identity()

    def _sequence(self, node: syntax.Sequence, names: Names) -> Code:
        parts = self._compile_all(node.parts, names)
        match node.operator:
            case "|":
                return flow.pipe(parts)
            case ",":
                return flow.comma(parts)
            case "//":
                return flow.alternatives(parts)
        return flow.logic(parts, ends=node.operator == "or")

    def _arithmetic(self, node: syntax.Arithmetic, names: Names) -> Code:
        operands = self._compile_all(node.operands, names)
        return build.arithmetic(operands, [_OPERATIONS[name] for name in node.operators])

    def _construct(self, node: syntax.Construct, names: Names) -> Code:
        self._builders += 1
        pairs: list[tuple[str | Code, Code]] = []
        for key, value in node.pairs:
            if isinstance(key, syntax.Constant) and not _is_negative(key):
                pairs.append((_require_text(key), self.compile(value, names)))
            else:
                pairs.append((self.compile(key, names), self.compile(value, names)))
        return build.construct(pairs)

    def _collect(self, node: syntax.Collect, names: Names) -> Code:
        self._builders += 1
        body = node.body
        if isinstance(body, syntax.Sequence) and body.operator == ",":
            parts = self._compile_all(body.parts, names)
            return build.list_of(parts) or build.collect(flow.comma(parts))
        self._collects = self._collects or body is not None
        return build.collect(None if body is None else self.compile(body, names))

    def _if(self, node: syntax.If, names: Names) -> Code:
        otherwise = flow.identity()
        if node.otherwise is not None:
            otherwise = self.compile(node.otherwise, names)
        branches = [
            (self.compile(condition, names), self.compile(then, names))
            for condition, then in node.branches
        ]
        return flow.choose_first(branches, otherwise)

    def _try(self, node: syntax.Try, names: Names) -> Code:
        body = self.compile(node.body, names)
        handler = None if node.handler is None else self.compile(node.handler, names)
        return catching.attempt(body, handler)

    def _bind(self, node: syntax.Bind, names: Names) -> Code:
        source = self.compile(node.source, names)
        binder, inner = self._binder(node.patterns, names)
        return binding.bind(source, binder, self.compile(node.body, inner))

    def _fold(self, node: syntax.Fold, names: Names) -> Code:
        self._loops = True
        source = self.compile(node.source, names)
        binder, inner = self._binder(node.patterns, names)
        begin = self.compile(node.start, names)
        update = self.compile(node.update, inner)
        if node.is_reduce:
            return binding.fold_reduce(source, binder, begin, update)
        extract = None if node.extract is None else self.compile(node.extract, inner)
        return binding.fold_foreach(source, binder, begin, update, extract)

    def _binder(self, patterns: list[syntax.Pattern], names: Names) -> tuple[Binder, Names]:
        matches = [self._match(pattern, names, names) for pattern in patterns]
        if len(matches) == 1:
            match, inner, height = matches[0]
            return Binder([match], height + 2), inner
        found = {
            name: None
            for _, inner, _ in matches
            for name, level in sorted(inner.variables.items(), key=lambda entry: entry[1])
            if level > names.level
        }
        rearranged = []
        for match, inner, _ in matches:
            levels = [inner.variables.get(name, 0) for name in found]
            distances = [inner.level - at if at > names.level else None for at in levels]
            rearranged.append(binding.rearranged(match, distances))
        result = names
        for name in found:
            result = result.with_variable(name)
        return Binder(rearranged, max(height for _, _, height in matches) + 4), result

    def _match(
        self, pattern: syntax.Pattern, names: Names, visible: Names
    ) -> tuple[Match, Names, int]:
        """Compile a pattern; keys see the variables around it, not those it binds."""
        if isinstance(pattern, syntax.VariablePattern):
            return binding.match_variable, names.with_variable(pattern.name), 1
        parts: list[tuple[Code, Match]] = []
        height = 0
        for key, name, inner in _entries(pattern):
            # The scope has more bindings when a key is run than when it is written.
            code = self.compile(key, visible.at_level(names.level))
            if isinstance(pattern, syntax.MapPattern) and isinstance(key, syntax.Constant):
                _require_text(key)
            match: Match = binding.match_variable
            if name is not None:
                names = names.with_variable(name)
            if inner is not None:
                second, names, deep = self._match(inner, names, visible)
                match = second if name is None else binding.match_both(match, second)
                height = max(height, deep)
            height = max(height, code.height)
            parts.append((code, match))
        return binding.match_all(parts), names, height + len(parts) + 2

    def _interpolation(self, node: syntax.Interpolation, names: Names) -> Code:
        text_of = self._format_named(node.format)
        parts: list[str | Code] = [
            part if isinstance(part, str) else self.compile(part, names) for part in node.parts
        ]
        return build.interpolate(parts, text_of)

    def _format(self, node: syntax.Format, _names: Names) -> Code:
        return build.applied(self._format_named(node.name), [])

    def _format_named(self, name: str) -> Any:
        if name not in FORMATS:
            self._refuse(f"@{name} is not a format")
        return FORMATS.get(name, FORMATS["text"])

    def _update(self, node: syntax.Update, names: Names) -> Code:
        self._builders += 1
        self._collects = True
        target, value = self._compile_all([node.target, node.value], names)
        match node.operator:
            case "=":
                return updates.assign(target, value)
            case "|=":
                return updates.modify(target, value)
            case "//=":
                return updates.operate(target, updates.default, value)
        return updates.operate(target, _OPERATIONS[node.operator[:-1]], value)

    def _definition(self, node: syntax.Definition, names: Names) -> Code:
        self._loops = True
        function = Function(names.level, node.parameters)
        inner = names.with_function(node.name, function)
        self.define(function, node, inner)
        return self.compile(node.rest, inner)

    def define(self, function: Function, node: syntax.Definition, names: Names) -> None:
        """Compile the body of a function."""
        for name in node.parameters:
            names = names.with_parameter(name)
        code = self.compile(node.body, names)
        if code.height > MAX_HEIGHT:
            raise too_deep()
        function.define(code)

    def _negate(self, node: syntax.Negate, names: Names) -> Code:
        body = self.compile(node.body, names)
        get, charge = body.single, turn(body)
        if get is not None:
            return one(lambda data, scope, meter: negate(get(data, scope, meter)), body, height=2)

        def gen(data: Any, scope: Any, meter: Any) -> Any:
            for value in body.gen(data, scope, meter):
                meter.spend(charge)
                yield negate(value)

        return many(gen, body)

    def _label(self, node: syntax.Label, names: Names) -> Code:
        return catching.label(self.compile(node.body, names.with_label(node.name)))

    def _break(self, node: syntax.BreakOut, names: Names) -> Code:
        level = names.labels.get(node.name)
        if level is None:
            return self._refuse(f"label {node.name} is not defined")
        return catching.break_out(names.level - level)


def _entries(
    pattern: syntax.ListPattern | syntax.MapPattern,
) -> list[tuple[Node, str | None, syntax.Pattern | None]]:
    """Return the keys of a pattern and what to do with what is there."""
    if isinstance(pattern, syntax.MapPattern):
        return pattern.entries
    return [(syntax.Constant(0, at), None, item) for at, item in enumerate(pattern.items)]


def _is_negative(key: syntax.Constant) -> bool:
    """Return whether a key is a negated number, which jq refuses only when it is computed."""
    return is_number(key.value) and key.value < 0


def _require_text(key: syntax.Constant) -> str:
    if not isinstance(key.value, str):
        raise ExpressionSyntaxError(f"cannot use {describe(key.value)} as object key")
    return key.value


def _constant_name(step: syntax.Step) -> str | None:
    """Return the name in a step that is nothing but a name."""
    if isinstance(step, syntax.IndexStep) and not step.guarded:
        key = step.key
        if isinstance(key, syntax.Constant) and isinstance(key.value, str):
            return key.value
    return None
