"""Answers of compatible servers that do not stream, as the events that an SDK expects."""

from __future__ import annotations

import json
from typing import Any

from stigma.contracts import json_text


def completion_events(body: bytes) -> bytes:
    """Return the events of an OpenAI-compatible server's answer in one piece.

    What is not such an answer becomes an event too: an error, or something that cannot be read.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _event(body.replace(b"\n", b" "))
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
        answer = {**answer, "choices": [_as_delta(choice) for choice in answer["choices"]]}
    return _event(json_text.compact(answer).encode(errors="surrogatepass")) + _event(b"[DONE]")


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


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
