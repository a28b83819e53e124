"""Agents whose model answers by a script, and documents that ask them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

ECHO = "you said {message}"


def seconds(value: float) -> str:
    """A duration as protobuf's JSON form has it."""
    return f"{value:g}s"


def scripted(
    *,
    text: str = ECHO,
    delay: float = 0.0,
    failure: str = "",
    duration: Callable[[float], str] = seconds,
    **spec: Any,
) -> dict[str, Any]:
    """An AgentSpec's JSON form for the scripted model: one step of `delay` seconds."""
    step: dict[str, Any] = {"text": text}
    if delay:
        step["delay"] = duration(delay)
    if failure:
        step["failure"] = {"reason": failure, "message": "as scripted"}
    return {"model": "scripted:reliability", "script": {"steps": [step]}} | spec


def asking_document(**spec: Any) -> str:
    """A document whose only task asks a scripted agent for the message in its input."""
    document = {
        "document": {
            "dsl": "1.0.3",
            "namespace": "tests",
            "name": "reliability",
            "version": "1.0.0",
        },
        "do": [
            {
                "ask": {
                    "call": "agent",
                    "with": {
                        "spec": scripted(duration=_iso8601, **spec),
                        "message": "${ .message }",
                    },
                }
            }
        ],
    }
    return json.dumps(document)


def _iso8601(value: float) -> str:
    """A duration as a document has it."""
    return f"PT{value:g}S"
