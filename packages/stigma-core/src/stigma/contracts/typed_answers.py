"""Answers that a person types: words, or JSON where the schema asks for it."""

from __future__ import annotations

import json

from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.contracts import json_text

DONE = "done"
"""The answer to an authorization, in words."""


def typed_answer(schema: str, text: str) -> InputAnswer:
    """Return the answer that a text is.

    It is JSON where there is a schema, that of no string, and the text can be read so; else words.

    Args:
        schema: of what is answered, as JSON text; empty for none.
        text: as typed.
    """
    if not schema or _is_of_string(schema):
        return InputAnswer(text=text)
    try:
        json_text.parse(text)
    except ValueError:
        return InputAnswer(text=text)
    return InputAnswer(json=text)


def _is_of_string(schema: str) -> bool:
    """Return whether a schema asks for a string, so that `7` is one."""
    try:
        value = json.loads(schema)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("type") == "string"
