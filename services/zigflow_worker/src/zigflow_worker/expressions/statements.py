"""Reads what begins with a keyword: definitions, labels, conditions, loops."""

from __future__ import annotations

from abc import abstractmethod

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.lexer import Token
from zigflow_worker.expressions.patterns import PatternReader
from zigflow_worker.expressions.syntax import Node

KEYWORDS = frozenset(
    {
        *("and", "as", "break", "catch", "def", "elif", "else", "end", "foreach", "if", "import"),
        *("include", "label", "module", "or", "reduce", "then", "try", "__loc__"),
    }
)


class StatementReader(PatternReader):
    """The part of the parser that reads what begins with a keyword."""

    @abstractmethod
    def _operand(self) -> Node: ...

    def _definition(self) -> Node:
        place = self.advance().place
        name = self.advance()
        if name.kind != "name" or name.text in KEYWORDS:
            self._unexpected(name)
        parameters: list[str] = []
        if self.accept("("):
            while True:
                token = self.advance()
                if token.kind not in ("name", "variable"):
                    self._unexpected(token)
                parameters.append(token.text)
                if not self.accept(";"):
                    break
            self.expect(")")
        self.expect(":")
        body = self.pipe()
        self.expect(";")
        return syntax.Definition(place, name.text, parameters, body, self.pipe())

    def _label(self) -> Node:
        place = self.advance().place
        name = self.variable_name()
        self.expect("|")
        return syntax.Label(place, name, self.pipe())

    def _if(self, token: Token) -> Node:
        branches: list[tuple[Node, Node]] = []
        while True:
            condition = self.pipe()
            self.expect("then")
            branches.append((condition, self.pipe()))
            if not self.accept("elif"):
                break
        otherwise = self.pipe() if self.accept("else") else None
        self.expect("end")
        return syntax.If(token.place, branches, otherwise)

    def _try(self, token: Token) -> Node:
        body = self._nested(self._operand)
        handler = self._nested(self._operand) if self.accept("catch") else None
        return syntax.Try(token.place, body, handler)

    def _fold(self, token: Token) -> Node:
        source = self._nested(self.alternatives)
        self.expect("as")
        patterns = self.patterns()
        self.expect("(")
        parts = [self.pipe()]
        while self.accept(";"):
            parts.append(self.pipe())
        self.expect(")")
        is_reduce = token.text == "reduce"
        if not 2 <= len(parts) <= 3 - is_reduce:
            self._unexpected(token)
        start, update, *rest = parts
        extract = rest[0] if rest else None
        return syntax.Fold(token.place, source, patterns, start, update, extract, is_reduce)

    def _break(self, token: Token) -> Node:
        return syntax.BreakOut(token.place, self.variable_name())
