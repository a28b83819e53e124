"""Compiles syntax trees: names are resolved here, and what is refused is refused here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from typing_extensions import override

from zigflow_worker.expressions import (
    binding,
    build,
    catching,
    choices,
    definitions,
    pipes,
    steps,
    syntax,
    updates,
)
from zigflow_worker.expressions.arithmetic import OPERATIONS, negate
from zigflow_worker.expressions.binders import BinderCompiler, require_text
from zigflow_worker.expressions.budget import MAX_HEIGHT
from zigflow_worker.expressions.code import Code, many, one, turn
from zigflow_worker.expressions.cursor import too_deep
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.functions import Function
from zigflow_worker.expressions.names import Key, Names
from zigflow_worker.expressions.parser import parse
from zigflow_worker.expressions.syntax import Node
from zigflow_worker.expressions.values import COMPARISONS, is_number

_OPERATIONS = {**OPERATIONS, **COMPARISONS}


def compile_source(
    source: str, given: frozenset[str], mistakes: list[ExpressionSyntaxError] | None = None
) -> tuple[Code, bool]:
    """Compile an expression that may read the variables `given` (raises ExpressionSyntaxError).

    With a list of `mistakes`, names that are not known are added to it instead.

    Return also whether a result may be far larger than the data it is made of, by sharing parts.
    """
    compiler = _Compiler(mistakes)
    code = compiler.compile(parse(source), Names(given))
    if code.height > MAX_HEIGHT:
        raise too_deep()
    return code, compiler.growth.is_possible


@cache
def _defined(key: Key) -> Function:
    """Return a builtin that is written in jq, compiled when it is first used."""
    node = definitions.by_key()[key]
    function = Function(0, node.parameters)
    _Compiler().define(function, node, Names(frozenset()).with_function(node.name, function))
    return function


class _Compiler(BinderCompiler):
    """Compiles the nodes of one expression."""

    def __init__(self, mistakes: list[ExpressionSyntaxError] | None = None) -> None:
        super().__init__(mistakes)
        self._kinds: dict[type[Node], Callable[[Any, Names], Code]] = {
            syntax.Identity: lambda _node, _names: pipes.identity(),
            syntax.Constant: lambda node, _names: pipes.constant(node.value),
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

    @override
    def compile(self, node: Node, names: Names) -> Code:
        return self._kinds[type(node)](node, names)

    @override
    def compile_all(self, nodes: list[Node], names: Names) -> list[Code]:
        kinds = self._kinds
        return [kinds[type(node)](node, names) for node in nodes]

    @override
    def defined(self, key: Key) -> Function:
        return _defined(key)

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
            absent = pipes.constant(None)
            first = self.compile(step.first, names) if step.first is not None else absent
            last = self.compile(step.last, names) if step.last is not None else absent
            return steps.slice_step(code, first, last, guarded=step.guarded)
        assert isinstance(step, syntax.IndexStep)  # noqa: S101 - for the type checker
        key = _constant_name(step)
        if key is not None and code.single is not None:
            return steps.name_step(code, key)
        return steps.key_step(code, self.compile(step.key, names), guarded=step.guarded)

    def _sequence(self, node: syntax.Sequence, names: Names) -> Code:
        parts = self.compile_all(node.parts, names)
        match node.operator:
            case "|":
                return pipes.pipe(parts)
            case ",":
                return pipes.comma(parts)
            case "//":
                return choices.alternatives(parts)
        return choices.logic(parts, ends=node.operator == "or")

    def _arithmetic(self, node: syntax.Arithmetic, names: Names) -> Code:
        operands = self.compile_all(node.operands, names)
        return build.arithmetic(operands, [_OPERATIONS[name] for name in node.operators])

    def _construct(self, node: syntax.Construct, names: Names) -> Code:
        self.growth.builders += 1
        pairs: list[tuple[str | Code, Code]] = []
        for key, value in node.pairs:
            if isinstance(key, syntax.Constant) and not _is_negative(key):
                pairs.append((require_text(key), self.compile(value, names)))
            else:
                pairs.append((self.compile(key, names), self.compile(value, names)))
        return build.construct(pairs)

    def _collect(self, node: syntax.Collect, names: Names) -> Code:
        self.growth.builders += 1
        body = node.body
        if isinstance(body, syntax.Sequence) and body.operator == ",":
            parts = self.compile_all(body.parts, names)
            return build.list_of(parts) or build.collect(pipes.comma(parts))
        self.growth.collects = self.growth.collects or body is not None
        return build.collect(None if body is None else self.compile(body, names))

    def _if(self, node: syntax.If, names: Names) -> Code:
        otherwise = pipes.identity()
        if node.otherwise is not None:
            otherwise = self.compile(node.otherwise, names)
        branches = [
            (self.compile(condition, names), self.compile(then, names))
            for condition, then in node.branches
        ]
        return choices.choose_first(branches, otherwise)

    def _try(self, node: syntax.Try, names: Names) -> Code:
        body = self.compile(node.body, names)
        handler = None if node.handler is None else self.compile(node.handler, names)
        return catching.attempt(body, handler)

    def _bind(self, node: syntax.Bind, names: Names) -> Code:
        source = self.compile(node.source, names)
        binder, inner = self._binder(node.patterns, names)
        return binding.bind(source, binder, self.compile(node.body, inner))

    def _fold(self, node: syntax.Fold, names: Names) -> Code:
        self.growth.loops = True
        source = self.compile(node.source, names)
        binder, inner = self._binder(node.patterns, names)
        begin = self.compile(node.start, names)
        update = self.compile(node.update, inner)
        if node.is_reduce:
            return binding.fold_reduce(source, binder, begin, update)
        extract = None if node.extract is None else self.compile(node.extract, inner)
        return binding.fold_foreach(source, binder, begin, update, extract)

    def _interpolation(self, node: syntax.Interpolation, names: Names) -> Code:
        text_of = self._format_named(node.format, node.place)
        parts: list[str | Code] = [
            part if isinstance(part, str) else self.compile(part, names) for part in node.parts
        ]
        return build.interpolate(parts, text_of)

    def _format(self, node: syntax.Format, _names: Names) -> Code:
        return build.applied(self._format_named(node.name, node.place), [])

    def _update(self, node: syntax.Update, names: Names) -> Code:
        self.growth.builders += 1
        self.growth.collects = True
        target, value = self.compile_all([node.target, node.value], names)
        match node.operator:
            case "=":
                return updates.assign(target, value)
            case "|=":
                return updates.modify(target, value)
            case "//=":
                return updates.operate(target, updates.default, value)
        return updates.operate(target, _OPERATIONS[node.operator[:-1]], value)

    def _definition(self, node: syntax.Definition, names: Names) -> Code:
        self.growth.loops = True
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


def _is_negative(key: syntax.Constant) -> bool:
    """Return whether a key is a negated number, which jq refuses only when it is computed."""
    return is_number(key.value) and key.value < 0


def _constant_name(step: syntax.Step) -> str | None:
    """Return the name in a step that is nothing but a name."""
    if isinstance(step, syntax.IndexStep) and not step.guarded:
        key = step.key
        if isinstance(key, syntax.Constant) and isinstance(key.value, str):
            return key.value
    return None
