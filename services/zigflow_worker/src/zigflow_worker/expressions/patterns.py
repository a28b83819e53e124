"""Reads patterns of variables, and objects, whose keys are written alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.cursor import TokenCursor
from zigflow_worker.expressions.lexer import Token
from zigflow_worker.expressions.syntax import Node, Pattern

MAX_PATTERN_DEPTH = 50


class PatternReader(TokenCursor, ABC):
    """The part of the parser that reads patterns and objects."""

    @abstractmethod
    def pipe(self) -> Node:
        """Read an expression."""

    @abstractmethod
    def alternatives(self) -> Node:
        """Read an expression without `,` and `|`."""

    @abstractmethod
    def string_key(self) -> Node:
        """Read a string."""

    @abstractmethod
    def _variable(self, token: Token) -> Node: ...

    def variable_name(self) -> str:
        """Read `$name`; return it with its `$`."""
        if self.token.kind != "variable" or self.token.text == "$__loc__":
            self.unexpected()
        return self.advance().text

    def patterns(self) -> list[Pattern]:
        """Read patterns joined by `?//`."""
        patterns = [self._pattern(0)]
        while self.accept("?//"):
            patterns.append(self._pattern(0))
        return patterns

    def _pattern(self, depth: int) -> Pattern:
        if depth > MAX_PATTERN_DEPTH:
            self.unexpected()
        if self.accept("["):
            items = [self._pattern(depth + 1)]
            while self.accept(","):
                items.append(self._pattern(depth + 1))
            self.expect("]")
            return syntax.ListPattern(items)
        if self.accept("{"):
            entries = [self._entry(depth)]
            while self.accept(","):
                entries.append(self._entry(depth))
            self.expect("}")
            return syntax.MapPattern(entries)
        return syntax.VariablePattern(self.variable_name())

    def _entry(self, depth: int) -> tuple[Node, str | None, Pattern | None]:
        if self.token.kind == "variable":
            place, name = self.token.place, self.variable_name()
            inner = self._pattern(depth + 1) if self.accept(":") else None
            return syntax.Constant(place, name[1:]), name, inner
        key = self._key()
        self.expect(":")
        return key, None, self._pattern(depth + 1)

    def _key(self) -> Node:
        """Read the key of an object or a pattern: a name, a string or an expression."""
        token = self.token
        if token.kind == "name" and "::" not in token.text:
            self.advance()
            return syntax.Constant(token.place, token.text)
        if self.accept("("):
            key = self.pipe()
            self.expect(")")
            return key
        if token.kind not in ("string", "open", "format"):
            self.unexpected()
        return self.string_key()

    def _construct(self, token: Token) -> Node:
        """Read an object from behind its brace; a comma may stand before the closing one."""
        pairs: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            pairs.append(self._pair())
            if not self.accept(","):
                self.expect("}")
                break
        return syntax.Construct(token.place, pairs)

    def _pair(self) -> tuple[Node, Node]:
        token = self.token
        if token.kind == "variable":
            variable = self._variable(self.advance())
            if self.accept(":"):
                return variable, self._value()
            return syntax.Constant(token.place, token.text[1:]), variable
        key = self._key()
        if token.text == "(" and token.kind == "symbol":
            self.expect(":")
            return key, self._value()
        if self.accept(":"):
            return key, self._value()
        identity = syntax.Identity(token.place)
        return key, syntax.Path(token.place, identity, [syntax.IndexStep(key)])

    def _value(self) -> Node:
        """Read a value of an object: `|` is allowed in it, `,` is not."""
        parts = [self.alternatives()]
        while self.accept("|"):
            parts.append(self.alternatives())
        return parts[0] if len(parts) == 1 else syntax.Sequence(parts[0].place, "|", parts)
