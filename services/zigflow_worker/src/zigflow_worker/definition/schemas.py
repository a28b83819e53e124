"""Reads schemas: inline ones, and the address of those that are fetched."""

from __future__ import annotations

from zigflow_worker.definition.endpoints import resource_parts
from zigflow_worker.definition.model import SchemaResource
from zigflow_worker.definition.nodes import Node
from zigflow_worker.expressions import is_expression
from zigflow_worker.uri_templates import check_resource_template, names_in


def read_schema(node: Node) -> Node | SchemaResource:
    """Read a schema (raises NodeError)."""
    fields = node.fields(
        *("format", "document", "resource"), like="{document: {type: object}}", inside="document"
    )
    if "format" in fields:
        name = fields["format"].text().partition(":")[0]
        if name != "json":
            raise fields["format"].error(f"schema format '{name}' is not supported: only 'json'")
    if "resource" in fields:
        if "document" in fields:
            raise fields["resource"].error("expected either 'document' or 'resource'")
        return _read_resource(fields["resource"])
    document = fields.get("document") or fields.get("resource")
    if document is None:
        raise node.error("'document' or 'resource' is required")
    if not isinstance(document.value, (dict, bool)):
        raise document.error("expected a JSON Schema")
    return document


def _read_resource(node: Node) -> SchemaResource:
    uri, authentication = resource_parts(node)
    return SchemaResource(uri, _uri(uri), authentication)


def _uri(node: Node) -> str:
    text = node.text().strip()
    try:
        if is_expression(text) or names_in(text):
            raise node.error("a schema is fetched before the first task: its URI is as written")
        check_resource_template(text)
    except ValueError as error:
        raise node.error(str(error)) from None
    return text
