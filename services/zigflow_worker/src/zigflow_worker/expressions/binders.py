"""Compiles patterns of variables: what binds the parts of a value."""

from __future__ import annotations

from zigflow_worker.expressions import binding, syntax
from zigflow_worker.expressions.binding import Binder, Match
from zigflow_worker.expressions.code import Code
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.names import Names
from zigflow_worker.expressions.printing import describe
from zigflow_worker.expressions.references import ReferenceCompiler
from zigflow_worker.expressions.syntax import Node


class BinderCompiler(ReferenceCompiler):
    """The part of the compiler that binds variables."""

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
                require_text(key)
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


def require_text(key: syntax.Constant) -> str:
    """Return a key of an object (raises ExpressionSyntaxError where it is no text)."""
    if not isinstance(key.value, str):
        raise ExpressionSyntaxError(f"cannot use {describe(key.value)} as object key", key.place)
    return key.value


def _entries(
    pattern: syntax.ListPattern | syntax.MapPattern,
) -> list[tuple[Node, str | None, syntax.Pattern | None]]:
    """Return the keys of a pattern and what to do with what is there."""
    if isinstance(pattern, syntax.MapPattern):
        return pattern.entries
    return [(syntax.Constant(0, at), None, item) for at, item in enumerate(pattern.items)]
