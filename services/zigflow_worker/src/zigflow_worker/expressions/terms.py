"""Reads terms: values, names and objects, and the paths that lead on from them."""

from __future__ import annotations

from collections.abc import Callable

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.lexer import Token
from zigflow_worker.expressions.statements import KEYWORDS, StatementReader
from zigflow_worker.expressions.syntax import Node

MAX_BITS = 1_023
"""Integers are exact up to the range of a double."""
_CONSTANTS = {"true": True, "false": False, "null": None}


class TermReader(StatementReader):
    """The part of the parser that reads what stands between operators."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
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
                raise ExpressionSyntaxError("a number is out of range", token.place)
            return syntax.Constant(token.place, whole)
        value = float(text)
        if value - value != 0:
            raise ExpressionSyntaxError("a number is out of range", token.place)
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
            self.advance()
            return self._interpolation(token, name)
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
