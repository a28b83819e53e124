"""Bodies of HTTP responses, bounded."""

from __future__ import annotations

import json
from typing import Any

import httpx2


async def read_body(response: httpx2.Response, limit: int) -> bytes | None:
    """Return the body of a streamed response; None for one that is too large, or compressed.

    Args:
        response: which is closed then.
        limit: bytes of the body.
    """
    body = bytearray()
    try:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return None
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > limit:
                return None
    finally:
        await response.aclose()
    return bytes(body)


def json_object(body: bytes | None) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one for anything else."""
    try:
        found = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
