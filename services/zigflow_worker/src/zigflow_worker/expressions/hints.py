"""Advice on words of other languages in an expression: the ones to write instead."""

from __future__ import annotations

import re

_DASHED = re.compile(r"\.([A-Za-z_]\w*)-\Z")
_OF_OTHERS = (
    (re.compile(r"&"), "", "write 'and'"),
    (re.compile(r"\|"), r"\|", "write 'or'"),
    (re.compile(r"="), r"[=!]=", "write '==' or '!='"),
    (re.compile(r"!"), "", "write '| not' behind it"),
    (re.compile(r"'|`"), "", "texts are in double quotes"),
    (re.compile(r"\$\{"), "", "inside of an expression there is no other ${ }"),
    (re.compile(r"\$(?![A-Za-z_])"), "", "the data itself is '.'"),
    (re.compile(r""), r"\?\s*", "write 'if CONDITION then VALUE else VALUE end'"),
    (re.compile(r"\("), r"\.\w+", "write '| NAME' behind what a function is for"),
    (re.compile(r"(?:now|localtime|strflocaltime)\b"), "", "see $workflow.startedAt"),
    (re.compile(r"(?:\$ENV|env)\b"), "", "give it as input"),
)
"""Patterns of the text at a mistake and of that before it, and the advice."""


def advice(source: str, index: int) -> str:
    """Return ": " and what to write instead of what is at a place; "" for nothing known.

    Args:
        source: of the expression.
        index: of the mistake in it.
    """
    before = source[max(index - 100, 0) : index]
    if dashed := _DASHED.search(before):
        rest = re.match(r"[\w-]*", source[index : index + 100])
        return f': a key with a dash is quoted: ."{dashed[1]}-{rest[0] if rest else ""}"'
    for here, there, text in _OF_OTHERS:
        if here.match(source, index) and re.search(rf"(?:{there})\Z", before):
            return f": {text}"
    return ""
