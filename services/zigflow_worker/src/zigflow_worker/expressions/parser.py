"""Reads expressions: a recursive descent in which lists of one operator do not nest."""

from __future__ import annotations

from collections.abc import Callable

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.cursor import MAX_DEPTH, too_deep
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.syntax import Node
from zigflow_worker.expressions.terms import TermReader
from zigflow_worker.expressions.values import is_number

_UPDATES = frozenset(("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="))
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_SUMS, _PRODUCTS = frozenset("+-"), frozenset("*/%")


def parse(source: str) -> Node:
    """Return the tree of an expression (raises ExpressionSyntaxError)."""
    parser = Parser(source)
    tree = parser.pipe()
    parser.expect_end()
    return tree


class Parser(TermReader):
    """Reads one expression: its operators, from the loosest to the closest."""

    def pipe(self) -> Node:
        """Read all up to a closing word: the loosest binding, `|`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_deep()
        place = self.token.place
        parts: list[Node] = []
        while True:
            part, ends = self._stage()
            parts.append(part)
            if ends or not self.accept("|"):
                break
        self._depth -= 1
        return parts[0] if len(parts) == 1 else syntax.Sequence(place, "|", parts)

    def _stage(self) -> tuple[Node, bool]:
        """Read a stage of a pipe; True if it takes all that follows."""
        token = self.token
        parts: list[Node] = []
        while True:
            part, ends = self._element()
            parts.append(part)
            if ends or not self.accept(","):
                break
        node = parts[0] if len(parts) == 1 else syntax.Sequence(token.place, ",", parts)
        return node, ends

    def _element(self) -> tuple[Node, bool]:
        """Read what stands between commas; True if it takes all that follows."""
        token = self.token
        if token.kind == "name":
            if token.text == "def":
                return self._definition(), True
            if token.text == "label":
                return self._label(), True
            if token.text in ("import", "include", "module"):
                raise ExpressionSyntaxError(
                    f"{token.text} is not allowed in expressions", token.place
                )
        part = self.alternatives()
        if not self.accept("as"):
            return part, False
        patterns = self.patterns()
        self.expect("|")
        return syntax.Bind(part.place, part, patterns, self.pipe()), True

    def alternatives(self) -> Node:
        """Read what stands between commas: `//` and all that binds closer."""
        return self._joined("//", self._update)

    def _joined(self, operator: str, read: Callable[[], Node]) -> Node:
        first = read()
        if self.token.text != operator or self.token.kind not in ("symbol", "name"):
            return first
        parts = [first]
        while self.accept(operator):
            parts.append(read())
        return syntax.Sequence(first.place, operator, parts)

    def _update(self) -> Node:
        target = self._joined("or", self._and)
        if self.token.kind != "symbol" or self.token.text not in _UPDATES:
            return target
        operator = self.advance().text
        value = self._joined("or", self._and)
        return syntax.Update(target.place, operator, target, value)

    def _and(self) -> Node:
        return self._joined("and", self._comparison)

    def _comparison(self) -> Node:
        left = self._sum()
        token = self.token
        if token.kind != "symbol" or token.text not in _COMPARISONS:
            return left
        self.advance()
        return syntax.Arithmetic(left.place, [left, self._sum()], [token.text])

    def _sum(self) -> Node:
        return self._computed(_SUMS, self._product)

    def _product(self) -> Node:
        return self._computed(_PRODUCTS, self._operand)

    def _computed(self, operators: frozenset[str], read: Callable[[], Node]) -> Node:
        first = read()
        if self.token.kind != "symbol" or self.token.text not in operators:
            return first
        operands, used = [first], []
        while self.token.kind == "symbol" and self.token.text in operators:
            used.append(self.advance().text)
            operands.append(read())
        return syntax.Arithmetic(first.place, operands, used)

    def _operand(self) -> Node:
        token = self.token
        if token.kind != "symbol" or token.text != "-":
            return self._postfix()
        self.advance()
        body = self._nested(self._operand)
        if isinstance(body, syntax.Constant) and is_number(body.value):
            return syntax.Constant(token.place, -body.value)
        return syntax.Negate(token.place, body)
