"""Places inside the scalars of a document's text, in each of YAML's and JSON's forms."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from functools import cached_property

_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t\r\n]+)*")
"""An anchor and a tag before a scalar."""
_OTHER_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
"""Line breaks of which editors and YAML differ."""
_FOLD = r"(?P<fold>[ \t]*\r?\n[ \t]*(?=[^ \t\r\n]))"
_ESCAPE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\[^xuU\r\n]"
)
_FLOW_STYLES = {
    '"': re.compile(rf'{_FOLD}|(?P<escape>{_ESCAPE})|(?P<same>[ \t]+|[^"\\ \t\r\n]+)'),
    "'": re.compile(rf"{_FOLD}|(?P<quote>'')|(?P<same>[ \t]+|[^' \t\r\n]+)"),
}
_PLAIN = re.compile(rf"{_FOLD}|(?P<same>[ \t]+|[^ \t\r\n]+)")
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*[ \t]*(?:#[^\r\n]*)?\r?\n")
_BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)*")
_SPACES = re.compile(" *")
_ESCAPES = dict(
    zip('0abtnvfre"/\\N_LP ', '\0\a\b\t\n\v\f\r\x1b"/\\\x85\xa0\u2028\u2029 ', strict=True)
)


class ScalarPlaces:
    """Finds characters of scalars in the text of their document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._latest = _Walk(text, _PLAIN, 0, "")

    def find(self, start: int, value: str, index: int) -> tuple[int, int] | None:
        """Return line and column, from 1, of a character of a scalar.

        None: it is not sure which one it is. What is found is compared with the value, so that no
        form of writing it down, however strange, gives a wrong place.

        Args:
            start: offset of the scalar in the text.
            value: of the scalar.
            index: of the character in the value; its length is the end.
        """
        found = _PROPERTIES.match(self._text, start)
        begin = start if found is None else found.end()
        if self._has_other_breaks or begin >= len(self._text):
            return None
        offset = self._offset(begin, value, index)
        if offset is None:
            return None
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    @cached_property
    def _has_other_breaks(self) -> bool:
        return _OTHER_BREAK.search(self._text) is not None

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self._text))]

    def _offset(self, start: int, value: str, index: int) -> int | None:
        style = self._text[start]
        if style in _FLOW_STYLES:
            return self._walk(_FLOW_STYLES[style], start + 1, value, index)
        if style in "|>":
            return self._in_block(start, value, index)
        return self._walk(_PLAIN, start, value, index)

    def _in_block(self, start: int, value: str, index: int) -> int | None:
        header = _BLOCK_HEADER.match(self._text, start)
        if header is None:
            return None
        content = value.lstrip("\n")
        first = _end(_BLANK_LINES, self._text, header.end())
        indent = _end(_SPACES, self._text, first) - first - _end(_SPACES, content, 0)
        if indent < 1 or index < len(value) - len(content):
            return None
        return self._walk(
            _block(indent, is_folded=self._text[start] == ">"),
            first + indent,
            content,
            index - (len(value) - len(content)),
        )

    def _walk(self, parts: re.Pattern[str], offset: int, value: str, index: int) -> int | None:
        if (self._latest.begin, self._latest.value) != (offset, value):
            self._latest = _Walk(self._text, parts, offset, value)
        return self._latest.offset_of(index)


class _Walk:
    """Text and value of a scalar side by side, from their begin to where it was asked for.

    It is kept for the next one: a text may have thousands of mistakes.
    """

    def __init__(self, text: str, parts: re.Pattern[str], begin: int, value: str) -> None:
        self.begin = begin
        self.value = value
        self._text = text
        self._parts = parts
        self._indexes, self._offsets = [0], [begin]
        """Of the begin of each part in the value and in the text, and of the next one."""

    def offset_of(self, index: int) -> int | None:
        """Return the offset of a character of the value; None: the text has another one."""
        while self._indexes[-1] <= index and self._indexes[-1] < len(self.value):
            if not self._pass_part():
                return None
        at = bisect_right(self._indexes, index) - 1
        return self._offsets[at] + index - self._indexes[at]

    def _pass_part(self) -> bool:
        passed = self._indexes[-1]
        found = self._parts.match(self._text, self._offsets[-1])
        part = "" if found is None else _meaning(found)
        if found is None or not part or not self.value.startswith(part, passed):
            return False
        self._indexes.append(passed + len(part))
        self._offsets.append(found.end())
        return True


def _block(indent: int, *, is_folded: bool) -> re.Pattern[str]:
    line_break = rf"(?P<fold>\r?\n {{{indent}}}(?=[^ \t\r\n]))"
    if not is_folded:
        line_break = rf"(?P<break>\r?\n(?: {{{indent}}}| *(?=\r?\n)|\Z))"
    return re.compile(rf"{line_break}|(?P<same>[^\r\n]+)")


def _meaning(part: re.Match[str]) -> str:
    match part.lastgroup:
        case "fold":
            return " "
        case "break":
            return "\n"
        case "quote":
            return "'"
        case "escape":
            return _character(part[0])
    return part[0]


def _character(escape: str) -> str:
    if escape[1] in "xuU":
        if len(escape) > 10:  # a surrogate pair
            return str(json.loads(f'"{escape}"'))
        number = int(f"0x{escape[2:]}", base=0)
        return chr(number) if number < 0x110000 else ""
    return _ESCAPES.get(escape[1], "")


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()
