"""Workflow documents in their envelopes, as they are written in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeAlias

from ruamel.yaml.comments import CommentedMap

from stigma_cli.places import place_of_child
from stigma_cli.yaml_files import has_outer_alias

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_JSON = json.JSONDecoder()

Written: TypeAlias = tuple[str, tuple[int, int]]
"""A text, and line and column, from 0, where it begins in the file."""


def lines_of(text: str) -> Sequence[str]:
    """Return the lines of a file as YAML counts them, with their ends."""
    return _LINE.findall(text)


def written_document(spec: CommentedMap, text: str, lines: Sequence[str]) -> Written | None:
    """Return the map `document` of an envelope's spec as it is written, with its own places.

    None: it does not stand there by itself. It is merged or an alias, has aliases of what is
    elsewhere in the file, or is in flow style and no JSON.

    Args:
        spec: of the envelope, parsed.
        text: of the file.
        lines: of the file.
    """
    key = place_of_child(spec, "document")
    if key is None:
        return None
    line, column = int(spec["document"].lc.line), int(spec["document"].lc.col)
    if lines[line][column : column + 1] == "{":
        written = _flow(text, lines, line, column)
    elif line >= key[0]:
        written = "".join(_block(lines, line, key[1] - 1))
        column = 0
    else:
        written = None
    if written is None or has_outer_alias(written):
        return None
    return written, (line, column)


def _flow(text: str, lines: Sequence[str], line: int, column: int) -> str | None:
    start = sum(map(len, lines[:line])) + column
    try:
        _, end = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return text[start:end]


def _block(lines: Sequence[str], first: int, indent: int) -> Sequence[str]:
    """Return the lines from the first on that are indented more, or blank, or a comment."""
    for at in range(first, len(lines)):
        content = lines[at].lstrip(" ")
        if len(lines[at]) - len(content) <= indent and content.strip() and content[0] != "#":
            return lines[first:at]
    return lines[first:]
