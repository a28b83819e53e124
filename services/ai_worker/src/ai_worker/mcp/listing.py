"""Listings of MCP servers' tools, with a digest of each definition."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import mcp_types

from ai_worker.calls.failures import CallError
from ai_worker.mcp.failures import AnsweredError, LostError, NotSentError, unknown_server
from ai_worker.mcp.server import Server
from ai_worker.models.output import OutputSchema
from stigma.agent.v1.agent_pb2 import McpTool, McpToolDefinition
from stigma.contracts import json_text, limits, tools
from stigma.internal.v1.execution_pb2 import (
    ListMcpToolsRequest,
    ListMcpToolsResponse,
    McpListingProblem,
)

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
_MAX_NAMED = 20
_MAX_DESCRIPTION_BYTES = 16 * 1024


class ListingError(Exception):
    """An entry that cannot be served; the message is one line."""

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        """`unavailable`: the server did not answer; it may later."""
        super().__init__(message)
        self.unavailable = unavailable


async def list_entries(
    servers: Sequence[Server | None], request: ListMcpToolsRequest
) -> ListMcpToolsResponse:
    """List the tools that entries stand for; each server is asked once.

    Args:
        servers: of each entry; None for an unknown one.
        request: with the entries.
    """
    seconds = request.timeout.ToTimedelta().total_seconds()
    asked = {each.resource.name: each for each in servers if each is not None}
    listings = await asyncio.gather(*(_listing(each, seconds) for each in asked.values()))
    listed = dict(zip(asked, listings, strict=True))
    response = ListMcpToolsResponse()
    for index, (entry, server) in enumerate(zip(request.entries, servers, strict=True)):
        try:
            found = listed.get(entry.server)
            response.tools.extend(_definitions(entry, server, found, request.digests_only))
        except ListingError as error:
            problem = McpListingProblem(
                entry=index, message=str(error), unavailable=error.unavailable
            )
            response.problems.append(problem)
    return response


async def _listing(server: Server, seconds: float) -> list[mcp_types.Tool] | ListingError:
    try:
        return await server.list_tools(seconds)
    except (NotSentError, LostError, AnsweredError) as error:
        text = f"MCP server {server.resource.name!r} does not list its tools: {error}"
        return ListingError(text.removesuffix("."), unavailable=True)


def _definitions(
    entry: McpTool,
    server: Server | None,
    listed: Sequence[mcp_types.Tool] | ListingError | None,
    digests_only: bool,
) -> list[McpToolDefinition]:
    if server is None or listed is None:
        raise ListingError(unknown_server(entry.server))
    if isinstance(listed, ListingError):
        raise listed
    offered = {each.name: each for each in listed if server.resource.offers(each.name)}
    if digests_only:
        wanted = [offered[name] for name in entry.tools or offered if name in offered]
        return [_definition(entry, each, digests_only=True) for each in wanted]
    for name in entry.tools:
        if name not in offered:
            known = ", ".join(sorted(offered)[:_MAX_NAMED])
            raise ListingError(
                f"MCP server {entry.server!r} offers no tool {name[:100]!r}; it offers {known}"
            )
    found = [
        _definition(entry, offered[name], digests_only=False) for name in entry.tools or offered
    ]
    if not found:
        raise ListingError(f"MCP server {entry.server!r} offers no tools")
    if sum(each.ByteSize() for each in found) > limits.MAX_MCP_DEFINITIONS_BYTES:
        raise ListingError(
            f"the definitions of the tools of MCP server {entry.server!r} are larger than "
            f"{limits.MAX_MCP_DEFINITIONS_BYTES} bytes; name the tools that the agent needs"
        )
    return found


def _definition(entry: McpTool, tool: mcp_types.Tool, *, digests_only: bool) -> McpToolDefinition:
    """Return a tool's definition.

    Raises:
        ListingError: no model can be given the tool.
    """
    listed = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
    definition = McpToolDefinition(
        server=entry.server,
        name=tool.name,
        exposed_name=tools.exposed_name(entry.prefix, tool.name),
        digest=digest(listed),
    )
    if digests_only:
        return definition
    definition.description = json_text.replace_surrogates(tool.description or tool.title or "")
    definition.input_schema = _schema(listed, "inputSchema")
    definition.output_schema = _schema(listed, "outputSchema")
    _check(definition)
    return definition


def digest(listed: dict[str, Any]) -> str:
    """Return the SHA-256, in hex, of what a model and its operator rely on in a definition."""
    keys = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    kept = {key: listed[key] for key in keys if key in listed}
    text = json_text.replace_surrogates(json_text.compact(kept, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()


def _schema(listed: dict[str, Any], key: str) -> str:
    schema = listed.get(key)
    return json_text.compact(schema) if schema else ""


def _check(definition: McpToolDefinition) -> None:
    shown = f"tool {definition.name[:100]!r} of MCP server {definition.server!r}"
    if not _NAME.fullmatch(definition.exposed_name):
        raise ListingError(
            f"{shown} would be called {definition.exposed_name[:100]!r}; a name is a letter, then "
            "letters, digits, - and _, at most 64"
        )
    if len(definition.description.encode()) > _MAX_DESCRIPTION_BYTES:
        raise ListingError(f"the description of {shown} is over {_MAX_DESCRIPTION_BYTES} bytes")
    for text in (definition.input_schema, definition.output_schema):
        try:
            if text:
                OutputSchema(text)
        except CallError:
            raise ListingError(f"{shown} has a schema that cannot be used") from None
