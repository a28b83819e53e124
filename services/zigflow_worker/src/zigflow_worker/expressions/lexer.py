"""The words of an expression; a string with interpolations is taken apart in the same pass."""

from __future__ import annotations

import json
import re
from typing import NamedTuple, NoReturn

from zigflow_worker.expressions.errors import ExpressionSyntaxError

_WORD = re.compile(
    r"""(?:[ \t\r\n]+|\#[^\n\\]*(?:\\(?:\r?\n|[^\r\n])?[^\n\\]*)*)*
    (?:
      (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<variable>\$[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<string>")
    | (?P<format>@[A-Za-z0-9_]+)
    | (?P<symbol>\?//=?|//=|[|+\-*/%=!<>]=|//|\.\.|[.|,:;=<>+\-*/%()\[\]{}?])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_CHUNK = re.compile(r'[^"\\]*(?:\\[^(][^"\\]*)*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(.))', re.DOTALL)


class Token(NamedTuple):
    r"""A word: its kind, its text or value, and the place of its first character.

    Kinds: field, name, variable, number, format, symbol, end, and string; a string with
    interpolations is `open`, then `text` and the words of each interpolation between the symbols
    `\(` and `)`, then `close`.
    """

    kind: str
    text: str
    place: int


def tokenize(source: str) -> list[Token]:
    """Return the words of `source`, the last one its end (raises ExpressionSyntaxError)."""
    return _Lexer(source).tokens()


def refuse(source: str, message: str, place: int) -> NoReturn:
    """Raise the error of a place in the source."""
    line = source.count("\n", 0, place) + 1
    column = place - (source.rfind("\n", 0, place) + 1) + 1
    raise ExpressionSyntaxError(message, place, f" at line {line}, column {column}")


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens: list[Token] = []
        self._parens: list[int] = []
        """Parentheses open inside each interpolation that is open."""

    def tokens(self) -> list[Token]:
        source, tokens = self._source, self._tokens
        match, new = _WORD.match, Token._make
        place = 0
        while True:
            found = match(source, place)
            if found is None:
                self._refuse_character(place)
            kind = found.lastgroup or ""
            start, place = found.span(kind)
            if kind == "string":
                place = self._string(place, start)
                continue
            text = source[start:place]
            if kind == "symbol" and self._parens and text in "()":
                place = self._parenthesis(text, start, place)
                continue
            tokens.append(new((kind, text, start)))
            if kind == "end":
                if self._parens:
                    refuse(source, "unexpected end: a string is not closed", start)
                return tokens

    def _parenthesis(self, text: str, start: int, place: int) -> int:
        """Keep count inside an interpolation; at its end, go on with its string."""
        self._tokens.append(Token("symbol", text, start))
        self._parens[-1] += 1 if text == "(" else -1
        if self._parens[-1] >= 0:
            return place
        self._parens.pop()
        return self._rest(place, start)

    def _string(self, place: int, start: int) -> int:
        """Read a string from behind its quote; return where to go on."""
        end = self._chunk(place)
        text = self._unescape(place, end)
        if self._source[end] == '"':
            self._tokens.append(Token("string", text, start))
            return end + 1
        self._tokens += (Token("open", "", start), Token("text", text, place))
        return self._interpolation(end)

    def _rest(self, place: int, start: int) -> int:
        """Read a string from behind an interpolation."""
        end = self._chunk(place)
        self._tokens.append(Token("text", self._unescape(place, end), place))
        if self._source[end] == '"':
            self._tokens.append(Token("close", "", start))
            return end + 1
        return self._interpolation(end)

    def _interpolation(self, place: int) -> int:
        self._tokens.append(Token("symbol", "\\(", place))
        self._parens.append(0)
        return place + 2

    def _chunk(self, place: int) -> int:
        found = _CHUNK.match(self._source, place)
        end = found.end() if found is not None else place
        if end >= len(self._source) or self._source[end : end + 2] == "\\":
            refuse(self._source, "unexpected end: a string is not closed", len(self._source))
        return end

    def _unescape(self, start: int, end: int) -> str:
        text = self._source[start:end]
        if "\\" not in text:
            return text
        for found in _ESCAPE.finditer(text):
            if found[1] is not None:
                refuse(self._source, "invalid escape in a string", start + found.start())
        decoded: str = json.loads('"' + text + '"', strict=False)
        return decoded

    def _refuse_character(self, place: int) -> NoReturn:
        found = re.compile(r"\s*").match(self._source, place)
        at = found.end() if found is not None else place
        refuse(self._source, f"unexpected character {self._source[at]!r}", at)
