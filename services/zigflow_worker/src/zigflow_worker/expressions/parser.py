"""Reads expressions: a recursive descent in which lists of one operator do not nest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.lexer import Token, refuse, tokenize
from zigflow_worker.expressions.statements import KEYWORDS, StatementReader
from zigflow_worker.expressions.syntax import Node
from zigflow_worker.expressions.values import is_number

MAX_DEPTH = 200
"""Expressions inside each other."""
MAX_BITS = 1_023
"""Integers are exact up to the range of a double."""
_CONSTANTS = {"true": True, "false": False, "null": None}
_UPDATES = frozenset(("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="))
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_SUMS, _PRODUCTS = frozenset("+-"), frozenset("*/%")


def parse(source: str) -> Node:
    """Return the tree of an expression (raises ExpressionSyntaxError)."""
    parser = Parser(source)
    tree = parser.pipe()
    parser.expect_end()
    return tree


def too_deep() -> ExpressionSyntaxError:
    """Return the error of an expression that nests too deeply."""
    return ExpressionSyntaxError(f"expression nests more than {MAX_DEPTH} deep")


class Parser(StatementReader):
    """Reads one expression."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._position = 0
        self.token = self._tokens[0]
        self._depth = 0
        self._terms: dict[str, Callable[[Token], Node]] = {
            "field": self._field,
            "string": lambda token: syntax.Constant(token.place, token.text),
            "open": lambda token: self._interpolation(token, "text"),
            "number": self._number,
            "variable": self._variable,
            "format": self._format,
            "name": self._name,
            "symbol": self._symbol,
        }
        self._keywords: dict[str, Callable[[Token], Node]] = {
            "if": self._if,
            "try": self._try,
            "reduce": self._fold,
            "foreach": self._fold,
            "break": self._break,
            "def": self._unexpected,
        }

    def advance(self) -> Token:
        """Return the present word and go on to the next."""
        token = self.token
        if token.kind != "end":
            self._position += 1
            self.token = self._tokens[self._position]
        return token

    def accept(self, text: str) -> bool:
        """Go on if the present word is the symbol or keyword `text`."""
        token = self.token
        if token.text == text and token.kind in ("symbol", "name"):
            self.advance()
            return True
        return False

    def expect(self, text: str) -> None:
        """Go on from the symbol or keyword `text` (raises ExpressionSyntaxError)."""
        if not self.accept(text):
            self._unexpected(self.token, f", expecting {text!r}")

    def expect_end(self) -> None:
        """Raise ExpressionSyntaxError unless all is read."""
        if self.token.kind != "end":
            self._unexpected(self.token)

    def _unexpected(self, token: Token, expecting: str = "") -> NoReturn:
        names = {"end": "end", "open": "string", "text": "string", "close": "string"}
        found = names.get(token.kind) or f"{token.text!r}"
        refuse(self._source, f"unexpected {found}{expecting}", token.place)

    def unexpected(self) -> NoReturn:
        """Raise the error of the present word."""
        self._unexpected(self.token)

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
                raise ExpressionSyntaxError(f"{token.text} is not allowed in expressions")
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

    def _nested(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_deep()
        node = read()
        self._depth -= 1
        return node

    def _postfix(self) -> Node:
        token = self.advance()
        read = self._terms.get(token.kind)
        if read is None:
            self._unexpected(token)
        term = read(token)
        steps: list[syntax.Step] = []
        if isinstance(term, syntax.Path):
            steps = term.steps
        while True:
            step = self._step()
            if step is not None:
                steps.append(step)
            elif self._question():
                if steps and not steps[-1].guarded:
                    steps[-1].guarded = True
                elif steps:
                    path = term if isinstance(term, syntax.Path) else None
                    path = path or syntax.Path(term.place, term, steps)
                    term, steps = syntax.Try(term.place, path, None), []
                else:
                    term = syntax.Try(term.place, term, None)
            else:
                break
        if not steps or isinstance(term, syntax.Path):
            return term
        return syntax.Path(term.place, term, steps)

    def _question(self) -> bool:
        """Accept a `?`, also one that stands before `//`."""
        if self.accept("?"):
            return True
        token = self.token
        if token.kind == "symbol" and token.text.startswith("?//"):
            self.token = Token("symbol", token.text[1:], token.place + 1)
            return True
        return False

    def _step(self) -> syntax.Step | None:
        """Read one more step of a path."""
        token = self.token
        if token.kind == "field":
            self.advance()
            return syntax.IndexStep(syntax.Constant(token.place, token.text[1:]))
        if self.accept("["):
            return self._bracket()
        if self.accept("."):
            if self.accept("["):
                return self._bracket()
            return syntax.IndexStep(self.string_key())
        return None

    def _bracket(self) -> syntax.Step:
        """Read what follows `[` in a path."""
        if self.accept("]"):
            return syntax.IterateStep()
        if self.accept(":"):
            last = self.pipe()
            self.expect("]")
            return syntax.SliceStep(None, last)
        first = self.pipe()
        if self.accept(":"):
            until = None if self.token.text == "]" else self.pipe()
            self.expect("]")
            return syntax.SliceStep(first, until)
        self.expect("]")
        return syntax.IndexStep(first)

    def string_key(self) -> Node:
        """Read a string, with a format or not (raises ExpressionSyntaxError)."""
        token = self.advance()
        if token.kind == "string":
            return syntax.Constant(token.place, token.text)
        if token.kind == "open":
            return self._interpolation(token, "text")
        if token.kind == "format" and self.token.kind in ("string", "open"):
            return self._format(token)
        return self._unexpected(token)

    def _field(self, token: Token) -> Node:
        key = syntax.Constant(token.place, token.text[1:])
        return syntax.Path(token.place, syntax.Identity(token.place), [syntax.IndexStep(key)])

    def _number(self, token: Token) -> Node:
        text = token.text
        if text.isdigit():
            whole = int(text) if len(text) < 400 else 1 << MAX_BITS
            if whole.bit_length() > MAX_BITS:
                raise ExpressionSyntaxError("a number is out of range")
            return syntax.Constant(token.place, whole)
        value = float(text)
        if value - value != 0:
            raise ExpressionSyntaxError("a number is out of range")
        return syntax.Constant(token.place, value)

    def _variable(self, token: Token) -> Node:
        if token.text == "$__loc__":
            line = self._source.count("\n", 0, token.place) + 1
            return syntax.Constant(token.place, {"file": "<top-level>", "line": line})
        return syntax.Variable(token.place, token.text)

    def _format(self, token: Token) -> Node:
        name = token.text[1:]
        if self.token.kind == "string":
            text = self.advance()
            return syntax.Constant(text.place, text.text)
        if self.token.kind == "open":
            return self._interpolation(self.advance(), name)
        return syntax.Format(token.place, name)

    def _interpolation(self, token: Token, name: str) -> Node:
        parts: list[str | Node] = []
        while self.token.kind != "close":
            if self.token.kind == "text":
                parts.append(self.advance().text)
                continue
            self.expect("\\(")
            parts.append(self.pipe())
            self.expect(")")
        self.advance()
        return syntax.Interpolation(token.place, parts, name)

    def _name(self, token: Token) -> Node:
        if token.text in KEYWORDS:
            read = self._keywords.get(token.text)
            if read is None:
                self._unexpected(token)
            return read(token)
        if token.text in _CONSTANTS:
            return syntax.Constant(token.place, _CONSTANTS[token.text])
        arguments: list[Node] = []
        if self.token.text == "(" and self.accept("("):
            arguments.append(self.pipe())
            while self.accept(";"):
                arguments.append(self.pipe())
            self.expect(")")
        return syntax.Call(token.place, token.text, arguments)

    def _symbol(self, token: Token) -> Node:
        match token.text:
            case ".":
                return self._dot(token)
            case "..":
                return syntax.Call(token.place, "recurse", [])
            case "(":
                body = self.pipe()
                self.expect(")")
                return body if not isinstance(body, syntax.Path) else _closed(body)
            case "[":
                items = None if self.token.text == "]" else self.pipe()
                self.expect("]")
                return syntax.Collect(token.place, items)
            case "{":
                return self._construct(token)
        return self._unexpected(token)

    def _dot(self, token: Token) -> Node:
        identity = syntax.Identity(token.place)
        if self.token.kind in ("string", "open", "format"):
            return syntax.Path(token.place, identity, [syntax.IndexStep(self.string_key())])
        if self.token.text == "[" and self.accept("["):
            return syntax.Path(token.place, identity, [self._bracket()])
        return identity


def _closed(path: syntax.Path) -> Node:
    """Return a path in parentheses: a `?` behind these guards all of it."""
    return syntax.Sequence(path.place, "|", [path])
