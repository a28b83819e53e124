"""Text from elsewhere, made safe to show: a model's answer must not drive the terminal."""

from __future__ import annotations

import re

# Controls (C0 without tab and newline, DEL, C1), what reorders text, line separators, and halves of
# surrogate pairs, which no encoding of a stream has.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_text(text: str) -> str:
    r"""Return text of any number of lines with control and bidi characters as `\x1b`, `\u202e`."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def escape_line(text: str) -> str:
    """Return text as one line: as `escape_text`, with line ends and tabs shown as well."""
    return escape_text(text).replace("\n", "\\n").replace("\t", "\\t")


def escape_json(text: str) -> str:
    """Return JSON text that means the same, with those characters as JSON's escapes."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
