"""Documents that a call names: API descriptions and protos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zigflow_worker.compilation import Compiler
from zigflow_worker.definition import Node
from zigflow_worker.definition.endpoints import resource_parts
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.uri_templates import check_resource_template, template_parts


@dataclass(frozen=True, slots=True)
class ExternalResource:
    """A document, and the authentication that fetching it takes."""

    arguments: Mapping[str, JSON]
    """A literal endpoint as `uriTemplate` with `uriValues`, an expression as `endpoint`."""
    authentication: Node | None

    def compiled(self, compiler: Compiler) -> dict[str, JSON]:
        """Return the arguments, with the policy of the authentication (raises NodeError)."""
        arguments = dict(self.arguments)
        if self.authentication is not None:
            arguments["authentication"] = compiler.authentication(self.authentication).value
        return arguments


def read_resource(node: Node) -> ExternalResource:
    """Read an external resource (raises NodeError)."""
    uri, authentication = resource_parts(node)
    return ExternalResource(_uri_arguments(uri), authentication)


def _uri_arguments(node: Node) -> dict[str, JSON]:
    text = node.text().strip()
    if is_expression(text):
        return {"endpoint": text}
    try:
        check_resource_template(text)
    except ValueError as error:
        raise node.error(str(error)) from None
    return template_parts(text)
