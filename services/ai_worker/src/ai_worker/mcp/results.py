"""Results of MCP servers' tools, as the model is told them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stigma.agent.v1.agent_execution_pb2 import TOOL_OUTCOME_ERROR, TOOL_OUTCOME_OK
from stigma.contracts import json_text, limits, tool_results
from stigma.internal.v1.execution_pb2 import CallMcpToolResponse

_MAX_NAME_CHARACTERS = 200
_KB = 1024


def read_result(result: dict[str, Any], max_bytes: int) -> CallMcpToolResponse:
    """Return what the model is told of a result.

    Args:
        result: as the server sent it.
        max_bytes: of the content.
    """
    if not isinstance(result.get("content", []), list):
        return read_error("The MCP server's answer is not a result of a tool.", max_bytes)
    text = "\n".join(_parts(result))
    if result.get("isError"):
        return read_error(text or "The tool failed, and does not say why.", max_bytes)
    return _response(text, max_bytes)


def read_error(text: str, max_bytes: int) -> CallMcpToolResponse:
    """Return what the model is told of a call that failed.

    Args:
        text: what went wrong.
        max_bytes: of the content.
    """
    response = _response(text, min(max_bytes, limits.MAX_TOOL_ERROR_BYTES))
    response.outcome = TOOL_OUTCOME_ERROR
    return response


def _response(text: str, max_bytes: int) -> CallMcpToolResponse:
    content, truncated = tool_results.cut(json_text.replace_surrogates(text), max_bytes)
    return CallMcpToolResponse(outcome=TOOL_OUTCOME_OK, content=content, truncated=truncated)


def _parts(result: dict[str, Any]) -> Iterator[str]:
    blocks = [each for each in result.get("content", []) if isinstance(each, dict)]
    structured = result.get("structuredContent")
    if structured is not None and not any(each.get("type") == "text" for each in blocks):
        yield json_text.compact(structured)
    for block in blocks:
        yield str(block.get("text", "")) if block.get("type") == "text" else _placeholder(block)


def _placeholder(block: dict[str, Any]) -> str:
    """Return what stands for a block that models are not shown."""
    match block:
        case {"type": "image" | "audio", "data": str() as data}:
            return f"[{_name(block, 'mimeType')}, {_size(len(data) * 3 // 4)}, not shown]"
        case {"type": "resource_link"}:
            return f"[link to {_name(block, 'uri')}, not shown]"
        case {"type": "resource", "resource": {"blob": str() as data, **resource}}:
            return f"[{_name(resource, 'mimeType')}, {_size(len(data) * 3 // 4)}, not shown]"
        case {"type": "resource", "resource": {"text": str() as text, **resource}}:
            return f"[{_name(resource, 'mimeType')}, {_size(len(text.encode()))}, not shown]"
    return f"[{_name(block, 'type')}, not shown]"


def _name(block: Mapping[Any, Any], key: str) -> str:
    return " ".join(str(block.get(key) or "unknown").split())[:_MAX_NAME_CHARACTERS]


def _size(count: int) -> str:
    return f"{count} bytes" if count < _KB else f"{round(count / _KB)} KB"
