"""Payloads in a history, decoded leniently: a malformed one is empty."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue

from stigma.contracts import payloads

M = TypeVar("M", bound=Message)


async def message(client: Client, content: Iterable[Payload], kind: type[M]) -> M:
    """Return the first payload as a message; an empty one for what is none.

    A history is read when something is wrong: one odd payload must not hide all the rest.
    """
    try:
        return payloads.from_raw(await raw(client, content), kind)
    except ValueError:
        return kind()


async def plain(client: Client, content: Iterable[Payload]) -> dict[str, Any]:
    """Return the first payload, a JSON object; an empty one for what is none."""
    value = await _json(client, content)
    return value if isinstance(value, dict) else {}


async def text(client: Client, content: Payload) -> str:
    """Return a payload, a JSON string; an empty one for what is none."""
    value = await _json(client, [content])
    return value if isinstance(value, str) else ""


async def _json(client: Client, content: Iterable[Payload]) -> Any:
    try:
        return json.loads((await raw(client, content)).payload.data)
    except (ValueError, RecursionError):
        return None


async def raw(client: Client, content: Iterable[Payload]) -> RawValue:
    """Return the first payload as it was before the codec.

    Raises:
        ValueError: there is none.
    """
    first = list(content)[:1]
    if not first:
        raise ValueError("no payload")
    [decoded] = await client.data_converter.decode(first, [RawValue])
    return cast("RawValue", decoded)
