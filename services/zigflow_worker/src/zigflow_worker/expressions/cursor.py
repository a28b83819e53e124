"""The words of an expression, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from zigflow_worker.expressions.errors import ExpressionSyntaxError
from zigflow_worker.expressions.lexer import Token, refuse, tokenize

MAX_DEPTH = 200
"""Expressions inside each other."""
T = TypeVar("T")


def too_deep() -> ExpressionSyntaxError:
    """Return the error of an expression that nests too deeply."""
    return ExpressionSyntaxError(f"expression nests more than {MAX_DEPTH} deep")


class TokenCursor:
    """Goes through the words of one expression; `token` is the present one."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._position = 0
        self.token = self._tokens[0]
        self._depth = 0

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

    def _nested(self, read: Callable[[], T]) -> T:
        """Read a part that is one deeper (raises ExpressionSyntaxError)."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise too_deep()
        node = read()
        self._depth -= 1
        return node
