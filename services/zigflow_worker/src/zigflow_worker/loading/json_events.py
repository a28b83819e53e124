"""Strict JSON as events: YAML's grammar allows most of it, but not all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal

from zigflow_worker.loading.events import Event, Lines

_JSON_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:(?P<mark>[{}\[\],:])|(?P<quote>")
    |(?P<literal>true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?))""",
    re.VERBOSE,
)


_JSON_DECODER = json.JSONDecoder()


class NotJsonError(Exception):
    """The text is not JSON; it may still be YAML."""


def json_events(text: str) -> Iterator[Event]:
    """Yield the events of strict JSON (raises NotJsonError at the first deviation)."""
    lines = Lines(text)
    open_marks: list[str] = []
    expected = "value"
    index = 0
    while expected != "nothing":
        token = _JSON_TOKEN.match(text, index)
        if token is None:
            raise NotJsonError
        start, index = token.start(token.lastgroup or 0), token.end()
        mark = token["mark"] or ""
        if not _is_expected(mark, token.lastgroup, expected, open_marks):
            raise NotJsonError
        line, column = lines.at(start)
        if mark in ("{", "["):
            yield Event("map" if mark == "{" else "list", "", line, column, start)
            open_marks.append(mark)
            expected = "first key" if mark == "{" else "first value"
        elif mark in ("}", "]"):
            yield Event("end", "", line, column, start)
            open_marks.pop()
            expected = "next" if open_marks else "nothing"
        elif mark == ",":
            expected = "key" if open_marks[-1] == "{" else "value"
        elif mark == ":":
            expected = "value"
        else:
            literal = token["literal"]
            if literal is None:
                literal, index = _json_string(text, start)
            kind: Literal["plain", "text"] = "text" if token["quote"] else "plain"
            yield Event(kind, literal, line, column, start)
            expected = "colon" if expected.endswith("key") else "next"
    if text[index:].strip(" \t\r\n"):
        raise NotJsonError


def _is_expected(mark: str, group: str | None, expected: str, open_marks: list[str]) -> bool:
    if mark == "}":
        return open_marks[-1:] == ["{"] and expected in ("first key", "next")
    if mark == "]":
        return open_marks[-1:] == ["["] and expected in ("first value", "next")
    if mark == ",":
        return expected == "next"
    if mark == ":":
        return expected == "colon"
    if group == "quote":
        return expected.endswith(("key", "value"))
    return expected.endswith("value")


def _json_string(text: str, quote: int) -> tuple[str, int]:
    """Return the string that begins at `quote`, and the offset after it."""
    try:
        value, end = _JSON_DECODER.raw_decode(text, quote)
    except json.JSONDecodeError:
        raise NotJsonError from None
    return str(value), end
