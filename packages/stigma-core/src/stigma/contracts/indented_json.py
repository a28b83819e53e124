"""JSON text as a person reads it before an approval: indented, and otherwise as it is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence


def indent_json(text: str) -> str:
    """Return JSON text indented, with all of its numbers as written.

    Text that is no JSON, or in which a name occurs twice, stays as it is: what is approved must be
    what is shown.
    """
    try:
        value = json.loads(
            text, parse_int=_Number, parse_float=_Number, object_pairs_hook=_without_twins
        )
        return _indent(value, "")
    except (ValueError, RecursionError):
        return text


class _Number(str):
    """A number as its text: Python would make another one of 1.50 and of 1e400."""

    __slots__ = ()


def _without_twins(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON.

    Raises:
        ValueError: it has a name twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _indent(value: object, indent: str) -> str:
    inner = f"{indent}  "
    match value:
        case _Number():
            return str(value)
        case dict() if value:
            items = [
                f"{inner}{json.dumps(name, ensure_ascii=False)}: {_indent(each, inner)}"
                for name, each in value.items()
            ]
            return "{\n" + ",\n".join(items) + f"\n{indent}}}"
        case list() if value:
            items = [f"{inner}{_indent(each, inner)}" for each in value]
            return "[\n" + ",\n".join(items) + f"\n{indent}]"
        case _:
            return json.dumps(value, ensure_ascii=False)
