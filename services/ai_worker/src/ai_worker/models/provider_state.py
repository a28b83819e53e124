"""`Part.provider_state`: what a provider wants back verbatim, beside a part's text.

A state is JSON: the provider's name, and of a text or of reasoning its id, signature and details,
as 0.1.0 writes them, so that workers of both releases read both. Any other part is pydantic-ai's
own dump, with a version. A state that cannot be read is none: the part is its text then.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.messages import ModelResponsePart, TextPart, ThinkingPart, ToolCallPart

from stigma.agent.v1.agent_execution_pb2 import Part

_VERSION = 2
_PARTS: TypeAdapter[ModelResponsePart] = TypeAdapter(ModelResponsePart)
# Fields of a text or of reasoning that 0.1.0 has a name for, by their names in a state.
_PLAIN = {"id": "id", "signature": "signature", "details": "provider_details"}
_PLAIN_FIELDS = frozenset((*_PLAIN.values(), "content", "provider_name", "part_kind"))


def encode(part: ModelResponsePart, provider: str) -> bytes:
    """Return the state of a part; empty for a text that has none.

    Args:
        part: of a response.
        provider: our name of the provider that the part goes back to.
    """
    dump = _dump(part)
    if isinstance(part, TextPart | ThinkingPart) and dump.keys() <= _PLAIN_FIELDS:
        state = {name: dump[field] for name, field in _PLAIN.items() if dump.get(field)}
        # Reasoning without a signature goes back too: to the provider that it says.
        if not state and isinstance(part, TextPart):
            return b""
    else:
        state = {"version": _VERSION, "part": dump}
    return json.dumps(
        {"provider": provider, **state}, sort_keys=True, separators=(",", ":")
    ).encode()


def decode(part: Part, provider: str, system: str) -> ModelResponsePart | None:
    """Return a part as the provider left it, or as its text and arguments where another did.

    Args:
        part: of a message of the model.
        provider: our name of the provider, as in states.
        system: pydantic-ai's name of it.

    Returns:
        None for a part that the provider does not get: another's reasoning, or a kind of its own.
        The id of a tool call is empty if the provider has not given it one.
    """
    state = _own_state(part.provider_state, provider)
    restored = _restored(part, state)
    if restored is not None:
        return restored
    named = {field: state.get(name) for name, field in _PLAIN.items() if state.get(name)}
    named["provider_name"] = system if state else None
    try:
        return _plain(part, named, has_state=bool(state))
    except ValidationError:
        return _plain(part, {}, has_state=bool(state))


def _plain(part: Part, named: dict[str, Any], *, has_state: bool) -> ModelResponsePart | None:
    match part.WhichOneof("kind"):
        case "tool_call":
            return ToolCallPart(part.tool_call.name, part.tool_call.arguments_json, "")
        case "thinking" if has_state:
            return _PARTS.validate_python(
                {"part_kind": "thinking", "content": part.thinking, **named}
            )
        case "text" if part.text:
            named.pop("signature", None)
            return _PARTS.validate_python({"part_kind": "text", "content": part.text, **named})
    return None


def _restored(part: Part, state: dict[str, Any]) -> ModelResponsePart | None:
    """Return the part that a state has a dump of; None if there is none or it does not fit."""
    dump = state.get("part")
    if state.get("version") != _VERSION or not isinstance(dump, dict):
        return None
    try:
        return _PARTS.validate_python({**dump, **_own_fields(part, dump.get("part_kind"))})
    except ValidationError:
        return None


def _own_fields(part: Part, kind: object) -> dict[str, Any]:
    """Return the fields of a dump of this kind that a part of ours has itself."""
    match kind:
        case "text":
            return {"content": part.text}
        case "thinking":
            return {"content": part.thinking}
        case "tool-call":
            return {"tool_name": part.tool_call.name, "args": part.tool_call.arguments_json}
    return {}


def _dump(part: ModelResponsePart) -> dict[str, Any]:
    """Return the dump of a part without the fields that a part of ours has itself."""
    own = _own_fields(Part(), part.part_kind)
    # Not `exclude_defaults`, which leaves out what tells the kinds inside a part apart.
    dump: dict[str, Any] = _PARTS.dump_python(part, mode="json", exclude=set(own))
    return {field: value for field, value in dump.items() if value is not None}


def _own_state(data: bytes, provider: str) -> dict[str, Any]:
    """Return the state that a provider has given a part; empty for another's or no state."""
    try:
        state = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) and state.get("provider") == provider else {}
