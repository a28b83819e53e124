"""Endpoints and external resources: their URI, and the authentication that it takes."""

from __future__ import annotations

from zigflow_worker.definition.nodes import Node


def endpoint_parts(node: Node) -> tuple[Node, Node | None]:
    """Return the URI of an endpoint, alone or in a map, and its authentication.

    Raises:
        NodeError: a map has other keys, or no URI.
    """
    if not isinstance(node.value, dict):
        return node, None
    fields = node.fields("uri", "authentication", required=["uri"])
    return fields["uri"], fields.get("authentication")


def resource_parts(node: Node) -> tuple[Node, Node | None]:
    """Return the same of an external resource's endpoint (raises NodeError)."""
    fields = node.fields(
        "name", "endpoint", required=["endpoint"], like="{endpoint: https://example.com/api.json}"
    )
    if "name" in fields:
        with node.part():
            fields["name"].text()
    return endpoint_parts(fields["endpoint"])
