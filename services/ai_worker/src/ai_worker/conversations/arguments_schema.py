"""The schema of a tool's arguments, whose errors help the model to call the tool again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema_rs
from typing_extensions import override

from ai_worker.models.output import OutputSchema
from stigma.contracts import json_text

_SUBJECT = "the arguments object"
_MAX_NAMES = 8
_MAX_NAME_CHARACTERS = 64
_MAX_PLACE_CHARACTERS = 120
_MAX_RULE_CHARACTERS = 300
_OF_KEYS = frozenset(("additionalProperties", "required"))


class ArgumentsSchema(OutputSchema):
    """A JSON Schema of arguments. Errors are for the model: they name the keys that it wrote."""

    def __init__(self, text: str) -> None:
        """Parse the schema.

        Raises:
            CallError: it is not a JSON Schema, or refers to another document.
        """
        super().__init__(text, _SUBJECT)

    @override
    def _describe(self, error: jsonschema_rs.ValidationError) -> str:
        place = "$" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{_shortened(step)}"
            for step in error.instance_path
        )
        if len(place) > _MAX_PLACE_CHARACTERS:
            place = f"{place[:_MAX_PLACE_CHARACTERS]}…"
        return f"{_SUBJECT} breaks its schema: {self._problem(error, place)}"

    def _problem(self, error: jsonschema_rs.ValidationError, place: str) -> str:
        rule = str(error.schema_path[-1]) if error.schema_path else ""
        schema: Any = self._at(error.schema_path[:-1])
        if rule in _OF_KEYS and isinstance(schema, dict) and isinstance(error.instance, dict):
            return _problem_of_keys(schema, error, place)
        says: Any = schema.get(rule) if isinstance(schema, dict) else None
        text = json_text.compact(says)
        if rule == "type":
            names = [says] if isinstance(says, str) else list(says or ())
            return f"must be {' or '.join(map(str, names))} at {place}"
        is_short = len(text) <= _MAX_RULE_CHARACTERS
        if rule == "enum" and is_short:
            return f"must be one of {text} at {place}"
        shown = f" ({text})" if is_short and says is not None and says is not False else ""
        return f"the rule {rule!r}{shown} does not hold at {place}"

    def _at(self, path: Sequence[str | int]) -> Any:
        """Return what is at a place of the schema; None where it is not found."""
        found: Any = self.document
        for step in path:
            try:
                found = found[step]
            except (LookupError, TypeError):
                return None
        return found


def _problem_of_keys(
    schema: dict[str, Any], error: jsonschema_rs.ValidationError, place: str
) -> str:
    """Return which keys an object has too many, and which it lacks: both tell of one mistake."""
    given: Any = error.instance
    properties = schema.get("properties", {})
    # The validator stops at the first one.
    unexpected = list(getattr(error.kind, "unexpected", ()))
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        unexpected = [key for key in given if key not in properties]
    problems = []
    if unexpected:
        be = "is" if len(unexpected) == 1 else "are"
        allowed = f" (allowed: {', '.join(map(_shortened, properties))})" if properties else ""
        allowed = allowed if len(allowed) <= _MAX_RULE_CHARACTERS else ""
        problems.append(f"{_quoted(unexpected)} {be} not allowed at {place}{allowed}")
    missing = [key for key in schema.get("required", ()) if key not in given]
    if missing:
        be = "is" if len(missing) == 1 else "are"
        at = "" if unexpected else f" at {place}"
        problems.append(f"{_quoted(missing)} {be} missing{at}")
    return "; ".join(problems)


def _quoted(names: Sequence[str]) -> str:
    shown = [repr(_shortened(name)) for name in names[:_MAX_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shortened(name: str) -> str:
    long = len(name) > _MAX_NAME_CHARACTERS
    return f"{name[:_MAX_NAME_CHARACTERS]}…" if long else name
