"""Checks of evaluated arguments: an expression may have made anything of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zigflow_worker.errors import EXPRESSION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.uri_templates import expand


def uri_of(arguments: Mapping[str, Any], place: str) -> str:
    """Return the URI that a literal template with its values, or an `endpoint`, makes.

    Raises:
        WorkflowError: of type `expression`, which names the endpoint by `place`.
    """
    if "uriTemplate" in arguments:
        return expand(arguments["uriTemplate"], arguments.get("uriValues") or {})
    endpoint = arguments.get("endpoint")
    if isinstance(endpoint, dict) and endpoint.keys() == {"uri"}:
        endpoint = endpoint["uri"]
    if not isinstance(endpoint, str):
        raise mistyped(place, "a URI, or a map with one")
    return endpoint


def redirects_followed(arguments: Mapping[str, Any]) -> bool:
    """Return the argument `redirect`, false where it is absent or null (raises WorkflowError)."""
    follow = arguments.get("redirect") or False
    if not isinstance(follow, bool):
        raise mistyped("redirect", "true or false")
    return follow


def text_argument(value: JSON, place: str) -> str:
    """Return an argument that has to be a text (raises WorkflowError)."""
    if not isinstance(value, str):
        raise mistyped(place, "a text")
    return value


def mistyped(place: str, expected: str) -> WorkflowError:
    """Return the error of an argument of a wrong type."""
    return WorkflowError.of(EXPRESSION, f"'{place}' is not {expected}")
