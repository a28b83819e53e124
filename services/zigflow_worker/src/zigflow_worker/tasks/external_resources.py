"""Documents that a call names: API descriptions and protos."""

from __future__ import annotations

from zigflow_worker.definition import Node
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.uri_templates import check_resource_template, template_parts


def read_resource(node: Node) -> dict[str, JSON]:
    """Return the arguments that stand for an external resource (raises NodeError).

    A literal endpoint is there as `uriTemplate` with `uriValues`, an expression as `endpoint`.
    """
    fields = node.fields("name", "endpoint", required=["endpoint"])
    if "name" in fields:
        fields["name"].text()
    endpoint = fields["endpoint"]
    if isinstance(endpoint.value, dict):
        parts = endpoint.fields("uri", "authentication", required=["uri"])
        if "authentication" in parts:
            raise parts["authentication"].error(
                "the 'authentication' of a document is not supported in this release"
            )
        endpoint = parts["uri"]
    return _uri_arguments(endpoint)


def _uri_arguments(node: Node) -> dict[str, JSON]:
    text = node.text().strip()
    if is_expression(text):
        return {"endpoint": text}
    try:
        check_resource_template(text)
    except ValueError as error:
        raise node.error(str(error)) from None
    return template_parts(text)
