"""Answers of servers that do not stream though asked to, as the events that the SDKs expect.

What is no answer becomes an event too: an error, or something that cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stigma.contracts import json_text


def completion_events(body: bytes) -> bytes:
    """Return the events of an OpenAI-compatible server's answer in one piece."""
    answer = _parsed(body)
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
        answer = {**answer, "choices": [_as_delta(choice) for choice in answer["choices"]]}
    return _event(body if answer is None else answer) + _event(b"[DONE]")


def message_events(body: bytes) -> bytes:
    """Return the events of an Anthropic-compatible server's answer in one piece."""
    answer = _parsed(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), list):
        return _event(body if answer is None else answer, "error")
    return b"".join(_event(each, each["type"]) for each in _parts_of_message(answer))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _event(data: Any, name: str = "") -> bytes:
    """Return an event with data: JSON, or the bytes of what is not JSON."""
    text: bytes = (
        data if isinstance(data, bytes) else json_text.compact(data).encode(errors="surrogatepass")
    )
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + text.replace(b"\n", b" ") + b"\n\n"


def _as_delta(choice: Any) -> Any:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return choice
    delta = dict(choice["message"])
    if isinstance(calls := delta.get("tool_calls"), list):
        delta["tool_calls"] = [
            {"index": number, **call} if isinstance(call, dict) else call
            for number, call in enumerate(calls)
        ]
    return {**choice, "delta": delta}


def _parts_of_message(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": head}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    end = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    yield {"type": "message_delta", "delta": end, "usage": message.get("usage")}
    yield {"type": "message_stop"}
